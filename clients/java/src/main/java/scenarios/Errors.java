package scenarios;

import io.grpc.Channel;
import io.grpc.StatusException;
import java.util.UUID;
import tilde.v1.BrokerGrpc;
import tilde.v1.BrokerGrpc.BrokerBlockingV2Stub;
import tilde.v1.CreateNamespaceRequest;
import tilde.v1.DeleteNamespaceRequest;
import tilde.v1.Namespace;
import tilde.v1.NamespacesGrpc;
import tilde.v1.PublishRequest;
import tilde.v1.PublishResponse;

/** What the broker refuses, and what its details tell a program: the reason, the field, facts, when to try again. */
final class Errors {
    static void run(Channel channel, String prefix) throws StatusException, InterruptedException {
        var broker = BrokerGrpc.newBlockingV2Stub(channel);
        System.out.println("errors with their details");

        // A topic holds no ~.
        PublishRequest badTopic = PublishRequest.newBuilder().setTopic(prefix + "a~").build();
        Refusal refusal = Refusal.of(() -> broker.publish(badTopic));
        System.out.println("  a bad topic: " + refusal + ", field " + refusal.field());

        PublishRequest elsewhere =
                PublishRequest.newBuilder().setTopic(prefix + "a").setNamespace("no-such-namespace").build();
        System.out.println("  an unknown namespace: " + Refusal.of(() -> broker.publish(elsewhere)));

        // Publish only if nobody was faster: the topic's last sequence is still the one that was read.
        PublishRequest ifEmpty =
                PublishRequest.newBuilder().setTopic(prefix + "config").setExpectedLastSequence(0).build();
        PublishResponse first = broker.publish(ifEmpty);
        Refusal conflict = Refusal.of(() -> broker.publish(ifEmpty));
        Check.that(Long.parseUnsignedLong(conflict.metadata().get("actual")) == first.getSequence(), conflict);
        System.out.println("  somebody was faster: " + conflict + ", and the actual sequence");

        // A namespace of its own, which takes one message a second.
        var namespaces = NamespacesGrpc.newBlockingV2Stub(channel);
        String name = "scenarios-" + UUID.randomUUID();
        Namespace settings = Namespace.newBuilder().setName(name).setMaxMessagesPerSecond(1).build();
        namespaces.createNamespace(CreateNamespaceRequest.newBuilder().setNamespace(settings).build());
        tooFast(broker, PublishRequest.newBuilder().setTopic("a").setNamespace(name).build());
        namespaces.deleteNamespace(DeleteNamespaceRequest.newBuilder().setName(name).build());
    }

    private static void tooFast(BrokerBlockingV2Stub broker, PublishRequest request)
            throws StatusException, InterruptedException {
        Refusal refusal = untilRefused(broker, request);
        System.out.println("  too fast: " + refusal + ", and when to try again");
        Thread.sleep(refusal.retryDelay().toMillis() + 1); // rounded up
        broker.publish(request);
        System.out.println("  after that time: published");
    }

    private static Refusal untilRefused(BrokerBlockingV2Stub broker, PublishRequest request) {
        while (true) {
            try {
                broker.publish(request);
            } catch (StatusException error) {
                return Refusal.of(error);
            }
        }
    }
}
