package scenarios;

import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.TimeUnit;

/**
 * Runs the five scenarios against a broker, at the address HOST:PORT that is given.
 *
 * <p>The fifth drains the broker, and waits for it to come back on the same port with the same data.
 */
public final class Main {
    interface Scenario {
        void run(ManagedChannel channel, String prefix) throws Exception;
    }

    public static void main(String[] args) throws Exception {
        String address = args.length > 0 ? args[0] : "127.0.0.1:7126";
        ManagedChannel channel = Grpc.newChannelBuilder(address, InsecureChannelCredentials.create()).build();
        // Topics of this run only, so that nothing that is there already gets in the way.
        String prefix = "scenarios/" + UUID.randomUUID() + "/";
        try {
            List<Scenario> scenarios = List.of(Publish::run, Subscribe::run, Batch::run, Errors::run, Drain::run);
            for (Scenario scenario : scenarios) {
                scenario.run(channel, prefix);
            }
        } finally {
            channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
        }
    }
}
