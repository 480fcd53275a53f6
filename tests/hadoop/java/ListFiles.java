import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.PrintStream;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.LocatedFileStatus;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.RemoteIterator;
import org.apache.hadoop.hdfs.DistributedFileSystem;

/**
 * Prints every file below the given URIs as a JSON line, hidden ones included, with what the
 * NameNode knows about it. The length of a file open for write is that of its finished blocks.
 */
public final class ListFiles {

  private ListFiles() {}

  public static void main(String[] args) throws IOException {
    PrintStream out = Json.output();
    for (String uri : args) {
      Path root = new Path(uri);
      FileSystem fs = root.getFileSystem(new Configuration());
      RemoteIterator<LocatedFileStatus> files;
      try {
        files = fs.listFiles(root, true);
      } catch (FileNotFoundException e) {
        continue;
      }
      while (files.hasNext()) {
        LocatedFileStatus file = files.next();
        boolean open;
        try {
          open =
              fs instanceof DistributedFileSystem
                  && !((DistributedFileSystem) fs).isFileClosed(file.getPath());
        } catch (FileNotFoundException e) {
          // Deleted or renamed since it was listed.
          continue;
        }
        out.println(
            Json.object()
                .put("path", file.getPath().toUri().getPath())
                .put("length", file.getLen())
                .put("replication", file.getReplication())
                .put("open_for_write", open)
                .end());
      }
    }
    out.flush();
    if (out.checkError()) {
      throw new IOException("standard output failed");
    }
  }
}
