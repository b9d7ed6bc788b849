import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Objects;
import java.util.Properties;

/** The admin database by pgJDBC. JDBC_URL, PGUSER, PGPASSWORD and TASK, a finished task, are in the environment. */
public class Client {
    static final String task = System.getenv("TASK");

    static void check(String what, Object got, Object want) {
        if (!Objects.equals(got, want)) {
            System.err.println(what + ": got " + got + ", want " + want);
            System.exit(1);
        }
    }

    static void statements(Connection c) throws SQLException {
        DatabaseMetaData about = c.getMetaData();
        check("major version", about.getDatabaseMajorVersion(), 14);
        check("product", about.getDatabaseProductName(), "PostgreSQL");
        check("user", about.getUserName(), System.getenv("PGUSER"));
        check("valid", c.isValid(10), true);
        try (Statement s = c.createStatement()) {
            try (ResultSet r = s.executeQuery("SHOW TASKS")) {
                check("a row", r.next(), true);
                check("id", r.getLong("id"), Long.parseLong(task));
                check("status", r.getString("status"), "finished");
                check("percent", r.getDouble("percent"), 100.0);
                check("type of id", r.getMetaData().getColumnTypeName(1), "int8");
            }
            check("two statements", s.execute("SHOW VERSION; SHOW SERVER_VERSION"), true);
            check("second result", s.getMoreResults(), true);
            try {
                s.execute("STOP_TASK 99999");
                check("STOP_TASK 99999", "succeeded", "failed");
            } catch (SQLException e) {
                check("SQLSTATE", e.getSQLState(), "42704");
            }
        }
        if (!c.getAutoCommit()) {
            c.rollback();
        }
        try (PreparedStatement p = c.prepareStatement("WAIT ?")) {
            for (int i = 0; i < 8; i++) { // after 5 the driver prepares it with a name
                if (i % 2 == 0) {
                    p.setString(1, task);
                } else {
                    p.setLong(1, Long.parseLong(task));
                }
                try (ResultSet r = p.executeQuery()) {
                    check("a row of WAIT", r.next(), true);
                    check("WAIT", r.getString("status"), "finished");
                }
                check("NOTICE", p.getWarnings() == null || p.getWarnings().getMessage() != null, true);
            }
        }
    }

    public static void main(String[] args) throws SQLException {
        for (String mode : new String[] {"extended", "extendedForPrepared", "extendedCacheEverything", "simple"}) {
            for (boolean autoCommit : new boolean[] {true, false}) {
                Properties p = new Properties();
                p.setProperty("user", System.getenv("PGUSER"));
                p.setProperty("password", System.getenv("PGPASSWORD"));
                p.setProperty("preferQueryMode", mode);
                try (Connection c = DriverManager.getConnection(System.getenv("JDBC_URL"), p)) {
                    c.setAutoCommit(autoCommit);
                    statements(c);
                    if (!autoCommit) {
                        c.commit();
                    }
                } catch (SQLException e) {
                    throw new SQLException("mode " + mode + ", autocommit " + autoCommit + ": " + e.getMessage(), e);
                }
            }
        }
        System.out.println("done");
    }
}
