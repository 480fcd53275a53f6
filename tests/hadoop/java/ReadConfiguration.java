import java.io.File;
import java.io.IOException;
import java.io.PrintStream;
import java.net.URL;
import java.net.URLClassLoader;
import java.util.Map;
import java.util.TreeSet;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.hdfs.HdfsConfiguration;

/**
 * Prints what Hadoop's own class reads from each of the given directories, a JSON line each: every
 * property of core-site.xml and hdfs-site.xml with its expanded value, or null if it cannot read
 * them. A value that it fails to expand is left out. The directory is on the classpath, as it is
 * with Hadoop's own programs.
 *
 * <p>Then a line with the names that Hadoop has replaced, and their replacements.
 */
public final class ReadConfiguration {

  private ReadConfiguration() {}

  public static void main(String[] args) throws IOException {
    HdfsConfiguration.init();
    PrintStream out = Json.output();
    for (String dir : args) {
      out.println(Json.object().put("dir", dir).raw("properties", properties(dir)).end());
    }
    out.flush();
    // It writes to standard output by itself.
    Configuration.dumpDeprecatedKeys();
    if (out.checkError() || System.out.checkError()) {
      throw new IOException("standard output failed");
    }
  }

  private static String properties(String dir) throws IOException {
    Configuration configuration = new Configuration(false);
    URL[] classpath = {new File(dir).toURI().toURL()};
    configuration.setClassLoader(new URLClassLoader(classpath));
    for (String file : new String[] {"core-site.xml", "hdfs-site.xml"}) {
      if (new File(dir, file).exists()) {
        configuration.addResource(file);
      }
    }
    TreeSet<String> names = new TreeSet<>();
    try {
      for (Map.Entry<String, String> property : configuration) {
        names.add(property.getKey());
      }
    } catch (RuntimeException e) {
      return "null";
    }
    Json properties = Json.object();
    for (String name : names) {
      try {
        String value = configuration.get(name);
        if (value != null) {
          properties.put(name, value);
        }
      } catch (IllegalStateException e) {
        // It refers to others without end.
      }
    }
    return properties.end();
  }
}
