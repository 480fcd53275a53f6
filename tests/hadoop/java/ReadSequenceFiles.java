import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import net.pixelcop.sewer.source.http.AccessLogEvent;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.io.BytesWritable;
import org.apache.hadoop.io.LongWritable;
import org.apache.hadoop.io.SequenceFile;
import org.apache.hadoop.io.Text;
import org.apache.hadoop.io.VLongWritable;
import org.apache.hadoop.io.Writable;
import org.apache.hadoop.util.ReflectionUtils;

/**
 * Prints SequenceFiles as JSON lines, read by Hadoop's own reader.
 *
 * <p>Arguments are URIs of files or directories. Directories are read recursively in the order of
 * names; names that begin with {@code .} or {@code _} are skipped, as Hadoop's input formats do. For
 * each file one line describes it and one line follows for each row. The first error ends the
 * program with exit code 1: a reader never gets part of a file without being told.
 *
 * <p>Hadoop's own ZStandardCodec needs its native library. In its place stands aircompressor's codec
 * for Hadoop, an implementation of Zstandard in Java alone.
 */
public final class ReadSequenceFiles {

  private static final String HADOOP_ZSTD = "org.apache.hadoop.io.compress.ZStandardCodec";
  private static final String JAVA_ZSTD = "io.airlift.compress.zstd.ZstdCodec";

  private final Configuration conf =
      new Configuration() {
        @Override
        public Class<?> getClassByName(String name) throws ClassNotFoundException {
          return super.getClassByName(name.equals(HADOOP_ZSTD) ? JAVA_ZSTD : name);
        }
      };
  private final PrintStream out;

  private ReadSequenceFiles(PrintStream out) {
    this.out = out;
  }

  public static void main(String[] args) throws IOException {
    PrintStream out = Json.output();
    ReadSequenceFiles reader = new ReadSequenceFiles(out);
    for (String uri : args) {
      Path path = new Path(uri);
      FileSystem fs = path.getFileSystem(reader.conf);
      for (Path file : visible(fs, fs.getFileStatus(path))) {
        reader.print(file);
      }
    }
    out.flush();
    if (out.checkError()) {
      throw new IOException("standard output failed");
    }
  }

  private static List<Path> visible(FileSystem fs, FileStatus status) throws IOException {
    List<Path> files = new ArrayList<>();
    if (status.isFile()) {
      files.add(status.getPath());
      return files;
    }
    FileStatus[] children;
    try {
      children = fs.listStatus(status.getPath());
    } catch (FileNotFoundException e) {
      // A directory that went between two listings holds nothing any more.
      return files;
    }
    Arrays.sort(children);
    for (FileStatus child : children) {
      String name = child.getPath().getName();
      if (!name.startsWith(".") && !name.startsWith("_")) {
        files.addAll(visible(fs, child));
      }
    }
    return files;
  }

  private void print(Path file) throws IOException {
    try (SequenceFile.Reader reader =
        new SequenceFile.Reader(conf, SequenceFile.Reader.file(file))) {
      Json metadata = Json.object();
      for (Map.Entry<Text, Text> entry : reader.getMetadata().getMetadata().entrySet()) {
        metadata.put(entry.getKey().toString(), entry.getValue().toString());
      }
      String codec =
          reader.getCompressionCodec() == null
              ? null
              : reader.getCompressionCodec().getClass().getName();
      out.println(
          Json.object()
              .put("file", file.toString())
              .raw("metadata", metadata.end())
              .put("compression", codec)
              .put("block_compressed", reader.isBlockCompressed())
              .end());
      Writable key = instance(reader.getKeyClass());
      Writable value = instance(reader.getValueClass());
      while (reader.next(key, value)) {
        out.println(
            Json.object()
                .put("file", file.toString())
                .put("key_class", reader.getKeyClassName())
                .put("value_class", reader.getValueClassName())
                .raw("key", json(key))
                .raw("value", json(value))
                .end());
      }
    }
  }

  private Writable instance(Class<?> type) {
    return (Writable) ReflectionUtils.newInstance(type, conf);
  }

  private static String json(Writable value) {
    if (value instanceof AccessLogEvent) {
      AccessLogEvent event = (AccessLogEvent) value;
      return Json.object()
          .put("timestamp", event.getTimestamp())
          .put("ip", event.getIp())
          .put("host", event.getHost())
          .put("request_path", event.getRequestPath())
          .put("query_string", event.getQueryString())
          .put("referer", event.getReferer())
          .put("user_agent", event.getUserAgent())
          .put("cookies", event.getCookies())
          .put("sort_hash", event.getSortHash())
          .end();
    }
    if (value instanceof LongWritable) {
      return Long.toString(((LongWritable) value).get());
    }
    if (value instanceof VLongWritable) {
      return Long.toString(((VLongWritable) value).get());
    }
    if (value instanceof BytesWritable) {
      return Json.quote(
          new String(((BytesWritable) value).copyBytes(), StandardCharsets.UTF_8));
    }
    return Json.quote(value.toString());
  }
}
