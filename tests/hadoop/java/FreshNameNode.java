import java.io.File;
import java.net.URI;
import org.apache.hadoop.hdfs.DFSConfigKeys;
import org.apache.hadoop.hdfs.HdfsConfiguration;
import org.apache.hadoop.hdfs.server.namenode.NameNode;

/**
 * Runs the NameNode, and formats its directory first if it was never formatted.
 *
 * <p>Formatting in the same JVM saves the start of a second one, which is a third of the time a
 * cluster takes to come up.
 */
public final class FreshNameNode {

  private FreshNameNode() {}

  public static void main(String[] args) throws Exception {
    HdfsConfiguration conf = new HdfsConfiguration();
    URI directory = new URI(conf.get(DFSConfigKeys.DFS_NAMENODE_NAME_DIR_KEY));
    if (!new File(directory.getPath(), "current/VERSION").exists()) {
      // The NameNode proper registers the same metrics once more, which Hadoop refuses.
      conf.setBoolean(DFSConfigKeys.DFS_NAMENODE_ENABLE_RETRY_CACHE_KEY, false);
      NameNode.format(conf);
    }
    NameNode.main(args);
  }
}
