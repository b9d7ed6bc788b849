import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Objects;

/** What the Java clients share. */
final class Proxied {
    static final String MODE = System.getenv("MODE");
    static final boolean STATEMENT = MODE.equals("statement");
    static final String URL = "jdbc:postgresql://127.0.0.1:" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE") + "?sslmode=disable";
    static final String USER = System.getenv("PGUSER");
    static final String PASSWORD = System.getenv("PGPASSWORD");

    private static final BufferedReader in = new BufferedReader(new InputStreamReader(System.in));

    /** Work that may fail. */
    interface Work {
        void run() throws Exception;
    }

    static void check(String what, Object got, Object want) {
        if (!Objects.equals(got, want)) {
            throw new AssertionError(MODE + " mode: " + what + ": got " + got + ", want " + want);
        }
    }

    /** Has the test restart the server. */
    static void restart() throws Exception {
        System.out.println("restart");
        System.out.flush();
        check("the test", in.readLine(), "restarted");
    }

    /** Tries until it works: the server was restarted. */
    static void again(Work work) throws Exception {
        for (long deadline = System.nanoTime() + 60_000_000_000L;; Thread.sleep(100)) {
            try {
                work.run();
                return;
            } catch (Exception e) {
                if (System.nanoTime() > deadline) {
                    throw e;
                }
            }
        }
    }

    private Proxied() {
    }
}
