import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs Kafka's command-line tools one after the other in one JVM, since starting one takes longer than most tools do.
 *
 * A request is a line of words in base64: the main class, the text of its standard input, its arguments. The answer is a
 * line: exit status, standard output, standard error (the latter two in base64, "-" where empty).
 */
public class Tools {
    /** Thrown where a tool would end the process. */
    private static class Ended extends RuntimeException {
        Ended() {
            super("the tool has ended", null, false, false);
        }
    }

    private static Integer first; // a tool that catches everything ends twice: the first time counts

    public static void main(String[] arguments) throws Exception {
        PrintStream answers = System.out;
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        List<Runnable> hooks = new ArrayList<>();
        Exit.setExitProcedure((status, message) -> end(status));
        Exit.setHaltProcedure((status, message) -> end(status));
        Exit.setShutdownHookAdder((name, hook) -> hooks.add(hook));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            String[] words = line.split(" ");
            String[] rest = new String[words.length - 2];
            for (int i = 0; i < rest.length; i++) {
                rest[i] = decoded(words[i + 2]);
            }
            answers.println(run(decoded(words[0]), decoded(words[1]), rest, hooks));
            answers.flush();
        }
    }

    private static void end(int status) {
        if (first == null) {
            first = status;
        }
        throw new Ended();
    }

    private static String run(String name, String input, String[] arguments, List<Runnable> hooks) {
        PrintStream out = System.out;
        PrintStream err = System.err;
        InputStream in = System.in;
        ByteArrayOutputStream said = new ByteArrayOutputStream();
        ByteArrayOutputStream complained = new ByteArrayOutputStream();
        System.setOut(new PrintStream(said, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(complained, true, StandardCharsets.UTF_8));
        System.setIn(new ByteArrayInputStream(input.getBytes(StandardCharsets.UTF_8)));
        int status;
        try {
            status = call(name, arguments);
            // A verifiable client closes and reports its totals as the process ends.
            for (Runnable hook : hooks) {
                hook.run();
            }
        } finally {
            hooks.clear();
            System.setOut(out);
            System.setErr(err);
            System.setIn(in);
        }
        return status + " " + encoded(said) + " " + encoded(complained);
    }

    private static int call(String name, String[] arguments) {
        first = null;
        try {
            Class.forName(name).getMethod("main", String[].class).invoke(null, (Object) arguments);
            return 0;
        } catch (InvocationTargetException thrown) {
            if (thrown.getCause() instanceof Ended) {
                return first;
            }
            thrown.getCause().printStackTrace();
            return 1;
        } catch (ReflectiveOperationException thrown) {
            thrown.printStackTrace();
            return 1;
        }
    }

    private static String decoded(String word) {
        return word.equals("-") ? "" : new String(Base64.getDecoder().decode(word), StandardCharsets.UTF_8);
    }

    private static String encoded(ByteArrayOutputStream bytes) {
        return bytes.size() == 0 ? "-" : Base64.getEncoder().encodeToString(bytes.toByteArray());
    }
}
