import java.io.IOException;
import net.pixelcop.sewer.source.http.AccessLogEvent;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.io.DataInputBuffer;
import org.apache.hadoop.io.DataOutputBuffer;
import org.apache.hadoop.io.SequenceFile;
import org.apache.hadoop.io.Text;
import org.apache.hadoop.io.VLongWritable;
import org.apache.hadoop.io.compress.DefaultCodec;

/**
 * Writes a SequenceFile with Hadoop's own writer: the reference that the reading side is tested
 * against.
 *
 * <p>Arguments: the file's URI, then one AccessLogEvent per argument as hexadecimal bytes. Each is
 * read by {@link AccessLogEvent#readFields} and its bytes as {@link AccessLogEvent#write} gives
 * them back are printed, then those of an event made anew from its fields, where empty counts as
 * absent; one line each.
 */
public final class WriteSequenceFile {

  private WriteSequenceFile() {}

  public static void main(String[] args) throws IOException {
    Configuration conf = new Configuration();
    SequenceFile.Metadata metadata = new SequenceFile.Metadata();
    metadata.set(new Text("written.by"), new Text("Hadoop"));
    try (SequenceFile.Writer writer =
        SequenceFile.createWriter(
            conf,
            SequenceFile.Writer.file(new Path(args[0])),
            SequenceFile.Writer.keyClass(AccessLogEvent.class),
            SequenceFile.Writer.valueClass(VLongWritable.class),
            SequenceFile.Writer.compression(
                SequenceFile.CompressionType.BLOCK, new DefaultCodec()),
            SequenceFile.Writer.metadata(metadata))) {
      for (int i = 1; i < args.length; i++) {
        AccessLogEvent event = read(unhex(args[i]));
        writer.append(event, new VLongWritable(1));
        System.out.println(hex(event));
        System.out.println(hex(remake(event)));
      }
    }
  }

  private static AccessLogEvent read(byte[] bytes) throws IOException {
    DataInputBuffer in = new DataInputBuffer();
    in.reset(bytes, bytes.length);
    AccessLogEvent event = new AccessLogEvent();
    event.readFields(in);
    if (in.getPosition() != bytes.length) {
      throw new IOException("bytes follow the event from offset " + in.getPosition());
    }
    return event;
  }

  private static AccessLogEvent remake(AccessLogEvent event) {
    return new AccessLogEvent(
        event.getTimestamp(),
        orAbsent(event.getIp()),
        orAbsent(event.getHost()),
        orAbsent(event.getRequestPath()),
        orAbsent(event.getQueryString()),
        orAbsent(event.getReferer()),
        orAbsent(event.getUserAgent()),
        orAbsent(event.getCookies()));
  }

  private static String orAbsent(String field) {
    return field.isEmpty() ? null : field;
  }

  private static byte[] unhex(String text) {
    byte[] bytes = new byte[text.length() / 2];
    for (int i = 0; i < bytes.length; i++) {
      bytes[i] = (byte) Integer.parseInt(text.substring(2 * i, 2 * i + 2), 16);
    }
    return bytes;
  }

  private static String hex(AccessLogEvent event) throws IOException {
    DataOutputBuffer bytes = new DataOutputBuffer();
    event.write(bytes);
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < bytes.getLength(); i++) {
      text.append(String.format("%02x", bytes.getData()[i]));
    }
    return text.toString();
  }
}
