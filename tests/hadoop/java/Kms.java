import java.io.File;

/**
 * Runs Hadoop's key management server with the configuration in {@code conf/}.
 *
 * <p>Not every release that these programs are compiled against has one, so it is found by name.
 */
public final class Kms {

  private Kms() {}

  public static void main(String[] args) throws Exception {
    File conf = new File("conf").getAbsoluteFile();
    System.setProperty("kms.config.dir", conf.getPath());
    System.setProperty("log4j.configuration", new File(conf, "log4j.properties").toURI().toString());
    Class.forName("org.apache.hadoop.crypto.key.kms.server.KMSWebServer")
        .getMethod("main", String[].class)
        .invoke(null, (Object) args);
  }
}
