import java.io.ByteArrayOutputStream;
import java.io.StringReader;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;

/** An application that uses pgJDBC, in each of its query modes. */
public class Jdbc {
    static Connection connect(String... more) throws SQLException {
        Properties p = new Properties();
        p.setProperty("user", Proxied.USER);
        p.setProperty("password", Proxied.PASSWORD);
        p.setProperty("ApplicationName", "jdbc");
        for (int i = 0; i < more.length; i += 2) {
            p.setProperty(more[i], more[i + 1]);
        }
        return DriverManager.getConnection(Proxied.URL, p);
    }

    static void run(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement()) {
            s.execute(sql);
        }
    }

    static String value(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement(); ResultSet r = s.executeQuery(sql)) {
            Proxied.check("a row", r.next(), true);
            return r.getString(1);
        }
    }

    static void fails(String what, String state, Proxied.Work work) throws Exception {
        try {
            work.run();
        } catch (SQLException e) {
            Proxied.check(what, e.getSQLState(), state);
            return;
        }
        throw new AssertionError(what + " succeeded");
    }

    static void transactions(Connection c) throws Exception {
        c.setAutoCommit(false);
        if (Proxied.STATEMENT) {
            fails("BEGIN", "0A000", () -> run(c, "SELECT 1"));
            c.setAutoCommit(true);
            return;
        }
        run(c, "INSERT INTO j VALUES (1, 'one')");
        Savepoint s = c.setSavepoint();
        fails("duplicate", "23505", () -> run(c, "INSERT INTO j VALUES (1, 'twice')"));
        fails("in a failed transaction", "25P02", () -> run(c, "SELECT 1"));
        c.rollback(s);
        run(c, "INSERT INTO j VALUES (2, 'two')");
        c.commit();
        run(c, "DELETE FROM j");
        c.rollback();
        Proxied.check("rolled back", value(c, "SELECT count(*) FROM j"), "2");
        c.commit();
        c.setReadOnly(true);
        fails("read only", "25006", () -> run(c, "DELETE FROM j"));
        c.rollback();
        c.setReadOnly(false);
        c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        Proxied.check("isolation", value(c, "SHOW transaction_isolation"), "serializable");
        c.commit();
        c.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
        c.setAutoCommit(true);
        run(c, "DELETE FROM j");
    }

    static void statements(Connection c) throws Exception {
        try (PreparedStatement p = c.prepareStatement("INSERT INTO j VALUES (?, ?)")) {
            for (int i = 0; i < 20; i++) { // gets a name on the server after five times
                p.setInt(1, i);
                p.setString(2, "x".repeat(i * 100));
                Proxied.check("inserted", p.executeUpdate(), 1);
            }
            for (int i = 100; i < 600; i++) {
                p.setInt(1, i);
                p.setString(2, "batch");
                p.addBatch();
            }
            Proxied.check("batch", p.executeBatch().length, 500);
        }
        try (PreparedStatement p = c.prepareStatement("SELECT length(t) FROM j WHERE id = ?")) {
            for (int i = 0; i < 20; i++) {
                p.setInt(1, i);
                try (ResultSet r = p.executeQuery()) {
                    Proxied.check("found", r.next() && r.getInt(1) == i * 100, true);
                }
            }
        }
        try (PreparedStatement p = c.prepareStatement("SELECT * FROM j WHERE id = ?")) {
            for (int i = 0; i < 16; i++) {
                if (i == 8) {
                    run(c, "ALTER TABLE j ADD COLUMN more int DEFAULT 7");
                }
                p.setInt(1, 3);
                try (ResultSet r = p.executeQuery()) {
                    Proxied.check("columns", r.getMetaData().getColumnCount() >= 2 && r.next(), true);
                }
            }
        }
        run(c, "ALTER TABLE j DROP COLUMN more");
        try (PreparedStatement p = c.prepareStatement("SELECT 1/?")) {
            for (int i = 0; i < 10; i++) {
                p.setInt(1, 0);
                fails("division", "22012", p::executeQuery);
            }
        }
        fails("syntax", "42601", () -> run(c, "SELEC"));
        Proxied.check("after errors", value(c, "SELECT 'after'"), "after");
        try (PreparedStatement p = c.prepareStatement("INSERT INTO j VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET t = excluded.t RETURNING id")) {
            p.setInt(1, 7);
            p.setString(2, "again");
            try (ResultSet r = p.executeQuery()) {
                Proxied.check("RETURNING", r.next() && r.getInt(1) == 7, true);
            }
        }
        run(c, "SET statement_timeout = '33s'");
        for (int i = 0; i < 5; i++) {
            Proxied.check("SET", value(c, "SHOW statement_timeout"), "33s");
        }
        run(c, "RESET statement_timeout");
        c.setSchema("pg_catalog");
        Proxied.check("schema", c.getSchema(), "pg_catalog");
        c.setSchema("public");
        Proxied.check("valid", c.isValid(30), true);
        try (ResultSet r = c.getMetaData().getColumns(null, "public", "j", null)) {
            Proxied.check("metadata", r.next() && r.getString("COLUMN_NAME").equals("id"), true);
        }
    }

    static void copies(Connection c) throws Exception {
        CopyManager copy = c.unwrap(PGConnection.class).getCopyAPI();
        StringBuilder rows = new StringBuilder();
        for (int i = 1000; i < 6000; i++) {
            rows.append(i).append('\t').append("c".repeat(200)).append('\n');
        }
        Proxied.check("COPY in", copy.copyIn("COPY j FROM STDIN", new StringReader(rows.toString())), 5000L);
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        Proxied.check("COPY out", copy.copyOut("COPY (SELECT * FROM j WHERE id >= 1000 ORDER BY id) TO STDOUT", out), 5000L);
        Proxied.check("what came out", out.toString().equals(rows.toString()), true);
        fails("COPY of duplicates", "23505", () -> copy.copyIn("COPY j FROM STDIN", new StringReader(rows.toString())));
        Proxied.check("after COPY", value(c, "SELECT count(*) FROM j WHERE id >= 1000"), "5000");
    }

    static void cursors(Connection c) throws Exception {
        if (Proxied.STATEMENT) {
            return;
        }
        c.setAutoCommit(false);
        try (PreparedStatement p = c.prepareStatement("SELECT id FROM j WHERE id >= ? ORDER BY id")) {
            p.setFetchSize(300); // a portal that is read in parts
            for (int round = 0; round < 7; round++) {
                p.setInt(1, 1000);
                int n = 0;
                try (ResultSet r = p.executeQuery()) {
                    while (r.next()) {
                        n++;
                    }
                }
                Proxied.check("rows of a portal", n, 5000);
            }
        }
        c.commit();
        c.setAutoCommit(true);
    }

    static void notifications() throws Exception {
        try (Connection listener = connect(); Connection c = connect()) {
            if (Proxied.STATEMENT) {
                fails("LISTEN", "0A000", () -> run(listener, "LISTEN news"));
                return;
            }
            run(listener, "LISTEN news");
            run(c, "NOTIFY news, 'first'");
            Proxied.check("notification", listener.unwrap(PGConnection.class).getNotifications(30_000)[0].getParameter(), "first");
            run(listener, "UNLISTEN *");
        }
    }

    static void cancels(Connection c) throws Exception {
        try (Statement s = c.createStatement()) {
            s.setQueryTimeout(1); // the driver sends a cancel request
            fails("cancel", "57014", () -> s.execute("SELECT pg_sleep(60)"));
        }
        Proxied.check("after a cancel", value(c, "SELECT 'here'"), "here");
    }

    static void crowd() throws Exception {
        try (Connection c = connect()) {
            run(c, "CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL)");
            run(c, "INSERT INTO account SELECT i, 100 FROM generate_series(1, 10) i");
            ExecutorService threads = Executors.newFixedThreadPool(12);
            List<Future<?>> all = new ArrayList<>();
            for (int n = 0; n < 12; n++) {
                int number = n;
                all.add(threads.submit(() -> {
                    transfer(number);
                    return null;
                }));
            }
            for (Future<?> f : all) {
                f.get();
            }
            threads.shutdown();
            Proxied.check("money", value(c, "SELECT sum(balance) FROM account"), "1000");
            run(c, "DROP TABLE account");
        }
    }

    static void transfer(int n) throws SQLException {
        try (Connection c = connect()) {
            c.setAutoCommit(Proxied.STATEMENT);
            String sql = Proxied.STATEMENT ? "UPDATE account SET balance = balance + (CASE id WHEN ? THEN 1 ELSE 0 END) - (CASE id WHEN ? THEN 1 ELSE 0 END)"
                : "UPDATE account SET balance = balance + ? WHERE id = ?";
            try (PreparedStatement p = c.prepareStatement(sql)) {
                for (int i = 0; i < 20; i++) {
                    int a = (n + i) % 10 + 1, b = (n * 3 + i) % 10 + 1;
                    if (Proxied.STATEMENT) {
                        p.setInt(1, a);
                        p.setInt(2, b);
                        p.executeUpdate();
                        continue;
                    }
                    p.setInt(1, a < b ? 1 : -1);
                    p.setInt(2, Math.min(a, b));
                    p.executeUpdate();
                    p.setInt(1, a < b ? -1 : 1);
                    p.setInt(2, Math.max(a, b));
                    p.executeUpdate();
                    c.commit();
                }
            }
        }
    }

    public static void main(String[] args) throws Exception {
        for (String mode : new String[] {"extended", "extendedForPrepared", "extendedCacheEverything", "simple"}) {
            try (Connection c = connect("preferQueryMode", mode, "options", "-c geqo=off")) {
                Proxied.check("options", value(c, "SHOW geqo"), "off");
                run(c, "DROP TABLE IF EXISTS j, account");
                run(c, "CREATE TABLE j (id int PRIMARY KEY, t text NOT NULL)");
                transactions(c);
                statements(c);
                copies(c);
                cursors(c);
                cancels(c);
            } catch (Throwable e) {
                throw new Exception("preferQueryMode=" + mode, e);
            }
        }
        notifications();
        crowd();
        Connection[] c = {connect()};
        run(c[0], "SELECT 1");
        Proxied.restart();
        Proxied.again(() -> {
            if (c[0].isClosed()) {
                c[0] = connect();
            }
            Proxied.check("after the restart", value(c[0], "SELECT 'here'"), "here");
        });
        c[0].close();
        System.out.println("done");
    }
}
