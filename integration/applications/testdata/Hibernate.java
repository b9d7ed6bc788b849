import jakarta.persistence.CascadeType;
import jakarta.persistence.Column;
import jakarta.persistence.Entity;
import jakarta.persistence.GeneratedValue;
import jakarta.persistence.GenerationType;
import jakarta.persistence.Id;
import jakarta.persistence.LockModeType;
import jakarta.persistence.ManyToOne;
import jakarta.persistence.OneToMany;
import jakarta.persistence.Table;
import jakarta.persistence.Version;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.logging.Level;
import java.util.logging.Logger;
import org.hibernate.ScrollableResults;
import org.hibernate.SessionFactory;
import org.hibernate.cfg.Configuration;
import org.hibernate.exception.ConstraintViolationException;

/** An application that uses Hibernate. Its transactions are refused in statement mode. */
public class Hibernate {
    @Entity(name = "Customer")
    @Table(name = "h_customer")
    public static class Customer {
        @Id
        @GeneratedValue(strategy = GenerationType.SEQUENCE)
        Long id;
        @Column(unique = true)
        String name;
        int balance;
        @Version
        int version;
        @OneToMany(mappedBy = "customer", cascade = CascadeType.ALL, orphanRemoval = true)
        List<Order> orders = new ArrayList<>();

        public Customer() {
        }

        Customer(String name, int orders) {
            this.name = name;
            this.balance = 100;
            for (int n = 0; n < orders; n++) {
                Order o = new Order();
                o.amount = n;
                o.customer = this;
                this.orders.add(o);
            }
        }
    }

    @Entity(name = "Order")
    @Table(name = "h_order")
    public static class Order {
        @Id
        @GeneratedValue(strategy = GenerationType.IDENTITY)
        Long id;
        int amount;
        @ManyToOne(optional = false)
        Customer customer;
    }

    static SessionFactory open() {
        return new Configuration().addAnnotatedClass(Customer.class).addAnnotatedClass(Order.class)
            .setProperty("hibernate.connection.url", Proxied.URL).setProperty("hibernate.connection.username", Proxied.USER)
            .setProperty("hibernate.connection.password", Proxied.PASSWORD).setProperty("hibernate.connection.pool_size", "8")
            .setProperty("hibernate.hbm2ddl.auto", "create-drop").setProperty("hibernate.jdbc.batch_size", "20")
            .setProperty("hibernate.jdbc.fetch_size", "50").buildSessionFactory();
    }

    static void entities(SessionFactory factory) {
        factory.inTransaction(s -> {
            for (int i = 0; i < 100; i++) {
                s.persist(new Customer("c" + i, 3));
            }
        });
        factory.inTransaction(s -> {
            for (int i = 0; i < 10; i++) {
                Customer c = s.createQuery("from Customer c join fetch c.orders where c.name = :name", Customer.class).setParameter("name", "c" + i).getSingleResult();
                Proxied.check("orders", c.orders.size(), 3);
                c.balance++;
                c.orders.remove(0);
            }
        });
        factory.inTransaction(s -> {
            Proxied.check("count", s.createQuery("select count(o) from Order o", Long.class).getSingleResult(), 290L);
            Proxied.check("sum", s.createQuery("select sum(c.balance) from Customer c", Long.class).getSingleResult(), 10010L);
            int n = 0;
            try (ScrollableResults<Order> all = s.createQuery("from Order o order by o.id", Order.class).setFetchSize(50).scroll()) {
                while (all.next()) {
                    n++;
                }
            }
            Proxied.check("scrolled", n, 290);
        });
        try {
            factory.inTransaction(s -> s.persist(new Customer("c1", 0)));
            throw new AssertionError("a duplicate was accepted");
        } catch (ConstraintViolationException e) {
            Proxied.check("SQLSTATE", e.getSQLState(), "23505");
        }
    }

    static void crowd(SessionFactory factory) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(6);
        List<Future<?>> all = new ArrayList<>();
        for (int n = 0; n < 6; n++) {
            int number = n;
            all.add(threads.submit(() -> {
                for (int i = 0; i < 20; i++) {
                    int a = Math.min((number + i) % 10, (number * 3 + i) % 10), b = Math.max((number + i) % 10, (number * 3 + i) % 10);
                    factory.inTransaction(s -> {
                        for (int k : new int[] {a, b}) {
                            Customer c = s.createQuery("from Customer c where c.name = :name", Customer.class).setParameter("name", "c" + k)
                                .setLockMode(LockModeType.PESSIMISTIC_WRITE).getSingleResult();
                            s.refresh(c);
                            c.balance += k == a ? 1 : -1;
                            s.flush();
                        }
                    });
                }
                return null;
            }));
        }
        for (Future<?> f : all) {
            f.get();
        }
        threads.shutdown();
    }

    public static void main(String[] args) throws Exception {
        Logger.getLogger("org.hibernate").setLevel(Level.OFF);
        if (Proxied.STATEMENT) {
            try {
                open().close();
                throw new AssertionError("statement mode allows transactions");
            } catch (RuntimeException e) {
                Proxied.restart();
            }
        } else {
            try (SessionFactory factory = open()) {
                entities(factory);
                crowd(factory);
                Proxied.restart();
                Proxied.again(() -> factory.inTransaction(s ->
                    Proxied.check("after the restart", s.createQuery("select count(o) from Order o", Long.class).getSingleResult(), 290L)));
            }
        }
        System.out.println("done");
    }
}
