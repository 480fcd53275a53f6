import java.io.IOException;
import java.io.InputStream;
import java.util.Arrays;

/**
 * Runs another class's {@code main} and halts the JVM when standard input ends.
 *
 * <p>The test process holds the other end of standard input. When it dies, however it dies, the
 * kernel closes the pipe, and no daemon outlives the test. Halting skips shutdown hooks on purpose:
 * an orderly end that hangs would be a leak again.
 */
public final class UntilStdinCloses {

  private UntilStdinCloses() {}

  public static void main(String[] args) throws Exception {
    InputStream stdin = System.in;
    Thread watch = new Thread(() -> haltAtEnd(stdin), "until-stdin-closes");
    watch.setDaemon(true);
    watch.start();
    Class.forName(args[0])
        .getMethod("main", String[].class)
        .invoke(null, (Object) Arrays.copyOfRange(args, 1, args.length));
  }

  private static void haltAtEnd(InputStream stdin) {
    try {
      while (stdin.read() >= 0) {
        // What is written there has no meaning; only the end has.
      }
    } catch (IOException e) {
      System.err.println("standard input failed: " + e);
    }
    Runtime.getRuntime().halt(0);
  }
}
