import java.io.BufferedOutputStream;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.io.UnsupportedEncodingException;

/**
 * Builds one JSON object; just what the programs here print.
 *
 * <p>Hadoop's own JSON library differs from release to release, so none is used.
 */
final class Json {

  private final StringBuilder out = new StringBuilder();
  private boolean first = true;

  /** Standard output in UTF-8, in large pieces; to be flushed and checked at the end. */
  static PrintStream output() throws UnsupportedEncodingException {
    FileOutputStream stdout = new FileOutputStream(FileDescriptor.out);
    return new PrintStream(new BufferedOutputStream(stdout, 1 << 16), false, "UTF-8");
  }

  /** The object {@code {…}} filled by the calls that follow. */
  static Json object() {
    Json json = new Json();
    json.out.append('{');
    return json;
  }

  Json put(String name, String value) {
    return raw(name, value == null ? "null" : quote(value));
  }

  Json put(String name, long value) {
    return raw(name, Long.toString(value));
  }

  Json put(String name, boolean value) {
    return raw(name, Boolean.toString(value));
  }

  /** A value that is JSON already. */
  Json raw(String name, String json) {
    if (!first) {
      out.append(',');
    }
    first = false;
    out.append(quote(name)).append(':').append(json);
    return this;
  }

  String end() {
    return out.append('}').toString();
  }

  static String quote(String text) {
    StringBuilder quoted = new StringBuilder(text.length() + 2).append('"');
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      if (c == '"' || c == '\\') {
        quoted.append('\\').append(c);
      } else if (c < 0x20 || Character.isSurrogate(c)) {
        // Escaped surrogates stay intact whatever the encoding of standard output.
        quoted.append(String.format("\\u%04x", (int) c));
      } else {
        quoted.append(c);
      }
    }
    return quoted.append('"').toString();
  }
}
