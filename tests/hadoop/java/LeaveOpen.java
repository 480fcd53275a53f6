import java.nio.charset.StandardCharsets;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.Path;

/** Creates the file given, writes a little, and dies without closing it, as a killed writer does. */
public final class LeaveOpen {

  private LeaveOpen() {}

  public static void main(String[] args) throws Exception {
    Path path = new Path(args[0]);
    FSDataOutputStream out = path.getFileSystem(new Configuration()).create(path, false);
    out.write("unfinished".getBytes(StandardCharsets.UTF_8));
    out.hflush();
    Runtime.getRuntime().halt(0);
  }
}
