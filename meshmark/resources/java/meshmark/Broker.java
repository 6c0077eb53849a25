package meshmark;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.Writer;
import java.lang.management.ManagementFactory;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.Channels;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import javax.management.JMException;
import javax.management.MBeanServer;
import javax.management.ObjectName;

/**
 * A Kafka broker whose metrics can be read over a Unix socket, named by the system property meshmark.metrics.
 *
 * <p>A question is lines of `OBJECT NAME, blank, ATTRIBUTE`, ended by an empty line; its answer is as many lines, each a
 * number, or `-` for what cannot be read. For a name that is a pattern it is the sum over what matches. Nothing is read
 * but what is asked for, and only numbers are told.
 */
public final class Broker {
    private static final MBeanServer BEANS = ManagementFactory.getPlatformMBeanServer();

    private Broker() {}

    public static void main(String[] arguments) throws Throwable {
        Path socket = Path.of(System.getProperty("meshmark.metrics"));
        Files.deleteIfExists(socket); // a broker that was here before left it
        ServerSocketChannel server = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
        server.bind(UnixDomainSocketAddress.of(socket));
        daemon(() -> accept(server));
        Class.forName("kafka.Kafka").getMethod("main", String[].class).invoke(null, (Object) arguments);
    }

    private static void daemon(Runnable body) {
        Thread thread = new Thread(body, "meshmark-metrics");
        thread.setDaemon(true);
        thread.start();
    }

    private static void accept(ServerSocketChannel server) {
        try {
            while (true) {
                SocketChannel peer = server.accept();
                daemon(() -> serve(peer));
            }
        } catch (IOException closed) {
            closed.printStackTrace();
        }
    }

    private static void serve(SocketChannel peer) {
        Map<String, Collection<ObjectName>> matches = new HashMap<>();
        try (peer;
                BufferedReader questions = new BufferedReader(Channels.newReader(peer, StandardCharsets.UTF_8));
                Writer answers = Channels.newWriter(peer, StandardCharsets.UTF_8)) {
            List<String> asked = new ArrayList<>();
            String line;
            while ((line = questions.readLine()) != null) {
                if (!line.isEmpty()) {
                    asked.add(line);
                    continue;
                }
                StringBuilder told = new StringBuilder();
                for (String question : asked) {
                    told.append(answer(question, matches)).append('\n');
                }
                answers.write(told.toString());
                answers.flush();
                asked.clear();
            }
        } catch (IOException gone) {
            // Whoever asked has gone; others may come.
        }
    }

    private static String answer(String question, Map<String, Collection<ObjectName>> matches) {
        int blank = question.lastIndexOf(' ');
        try {
            double sum = 0;
            boolean found = false;
            for (ObjectName name : matching(question.substring(0, Math.max(0, blank)), matches)) {
                if (BEANS.getAttribute(name, question.substring(blank + 1)) instanceof Number number) {
                    sum += number.doubleValue();
                    found = true;
                }
            }
            return found && Double.isFinite(sum) ? Double.toString(sum) : "-";
        } catch (JMException unknown) {
            return "-";
        }
    }

    /** Looking for matches reads all names that there are, thousands: what was found once stays. */
    private static Collection<ObjectName> matching(String text, Map<String, Collection<ObjectName>> known)
            throws JMException {
        Collection<ObjectName> found = known.get(text);
        if (found == null) {
            ObjectName name = new ObjectName(text);
            found = name.isPattern() ? BEANS.queryNames(name, null) : List.of(name);
            if (!found.isEmpty()) {
                known.put(text, found);
            }
        }
        return found;
    }
}
