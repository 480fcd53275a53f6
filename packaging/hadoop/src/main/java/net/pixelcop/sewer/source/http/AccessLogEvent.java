/*
 * Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except
 * in compliance with the License. You may obtain a copy of the License at
 *
 *     http://www.apache.org/licenses/LICENSE-2.0
 *
 * Unless required by applicable law or agreed to in writing, software distributed under the License
 * is distributed on an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express
 * or implied. See the License for the specific language governing permissions and limitations under
 * the License.
 */
package net.pixelcop.sewer.source.http;

import java.io.DataInput;
import java.io.DataOutput;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import org.apache.hadoop.io.Text;
import org.apache.hadoop.io.WritableComparable;
import org.apache.hadoop.io.WritableUtils;

/**
 * One request as Sewer recorded it: the key of its {@code access-log} SequenceFiles.
 *
 * <pre>
 * timestamp     VLong   milliseconds since the Unix epoch, at arrival
 * ip            Text    VInt byte length, UTF-8
 * host          Text
 * requestPath   Text
 * queryString   Text
 * referer       Text
 * userAgent     Text
 * cookies       Text
 * sortHash      Text    MD5 over all of the above, 32 lower-case hex digits
 * </pre>
 *
 * An absent field and an empty one both read as the empty string; only {@code sortHash} tells them
 * apart.
 *
 * <p>The order is that of {@code sortHash}, which spreads events evenly over reducers and puts
 * copies of one event next to each other. Two events of equal order are equal in every field except
 * for absent against empty, or for an MD5 collision, so {@link #equals} compares the fields.
 *
 * <p>An instance is reused by Hadoop's readers: {@link #readFields} overwrites it. Keep the strings,
 * which are immutable, or a clone, not the instance. Not safe for use by several threads.
 */
public class AccessLogEvent implements WritableComparable<AccessLogEvent> {

  private static final int IP = 0;
  private static final int HOST = 1;
  private static final int REQUEST_PATH = 2;
  private static final int QUERY_STRING = 3;
  private static final int REFERER = 4;
  private static final int USER_AGENT = 5;
  private static final int COOKIES = 6;
  private static final int FIELDS = 7;

  private long timestamp;
  private final Text[] fields = new Text[FIELDS];
  private final Text sortHash = new Text();

  /** An event without content, for {@link #readFields}. */
  public AccessLogEvent() {
    for (int i = 0; i < FIELDS; i++) {
      fields[i] = new Text();
    }
  }

  /** An event as the server records it; {@code null} is an absent field. */
  public AccessLogEvent(
      long timestamp,
      String ip,
      String host,
      String requestPath,
      String queryString,
      String referer,
      String userAgent,
      String cookies) {
    this();
    this.timestamp = timestamp;
    String[] values = {ip, host, requestPath, queryString, referer, userAgent, cookies};
    StringBuilder hashed = new StringBuilder().append(timestamp);
    for (int i = 0; i < FIELDS; i++) {
      fields[i].set(values[i] == null ? "" : values[i]);
      // The older server concatenated Java strings, so that an absent one counts as "null".
      hashed.append(values[i]);
    }
    sortHash.set(md5(hashed.toString()));
  }

  /** Milliseconds since the Unix epoch, at arrival. */
  public long getTimestamp() {
    return timestamp;
  }

  /** The client's address. */
  public String getIp() {
    return fields[IP].toString();
  }

  /** The host asked for, without its port. */
  public String getHost() {
    return fields[HOST].toString();
  }

  /** The path as received, not decoded. */
  public String getRequestPath() {
    return fields[REQUEST_PATH].toString();
  }

  /** The query as received, without its question mark, not decoded. */
  public String getQueryString() {
    return fields[QUERY_STRING].toString();
  }

  /** The first Referer header. */
  public String getReferer() {
    return fields[REFERER].toString();
  }

  /** The first User-Agent header. */
  public String getUserAgent() {
    return fields[USER_AGENT].toString();
  }

  /** The first Cookie header. */
  public String getCookies() {
    return fields[COOKIES].toString();
  }

  /** MD5 over all other fields, 32 lower-case hex digits. */
  public String getSortHash() {
    return sortHash.toString();
  }

  @Override
  public void write(DataOutput out) throws IOException {
    WritableUtils.writeVLong(out, timestamp);
    for (Text field : fields) {
      field.write(out);
    }
    sortHash.write(out);
  }

  @Override
  public void readFields(DataInput in) throws IOException {
    timestamp = WritableUtils.readVLong(in);
    for (Text field : fields) {
      field.readFields(in);
    }
    sortHash.readFields(in);
  }

  @Override
  public int compareTo(AccessLogEvent other) {
    return sortHash.compareTo(other.sortHash);
  }

  @Override
  public boolean equals(Object object) {
    if (this == object) {
      return true;
    }
    if (object == null || getClass() != object.getClass()) {
      return false;
    }
    AccessLogEvent other = (AccessLogEvent) object;
    return timestamp == other.timestamp
        && sortHash.equals(other.sortHash)
        && Arrays.equals(fields, other.fields);
  }

  /** The same in every JVM, as Hadoop's HashPartitioner needs it. */
  @Override
  public int hashCode() {
    return sortHash.hashCode();
  }

  /**
   * The nine fields in the order of the format, separated by tabs. Backslash, tab, line feed and
   * carriage return inside a field are escaped as in C, so that an event is always one line of nine
   * columns.
   */
  @Override
  public String toString() {
    StringBuilder line = new StringBuilder().append(timestamp);
    for (Text field : fields) {
      line.append('\t');
      escape(field.toString(), line);
    }
    line.append('\t');
    escape(sortHash.toString(), line);
    return line.toString();
  }

  private static void escape(String field, StringBuilder out) {
    for (int i = 0; i < field.length(); i++) {
      char c = field.charAt(i);
      switch (c) {
        case '\\':
          out.append("\\\\");
          break;
        case '\t':
          out.append("\\t");
          break;
        case '\n':
          out.append("\\n");
          break;
        case '\r':
          out.append("\\r");
          break;
        default:
          out.append(c);
      }
    }
  }

  private static String md5(String text) {
    try {
      byte[] digest =
          MessageDigest.getInstance("MD5").digest(text.getBytes(StandardCharsets.UTF_8));
      StringBuilder hex = new StringBuilder(2 * digest.length);
      for (byte b : digest) {
        hex.append(Character.forDigit((b >> 4) & 0xf, 16)).append(Character.forDigit(b & 0xf, 16));
      }
      return hex.toString();
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every Java platform has MD5", e);
    }
  }
}
