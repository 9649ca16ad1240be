package scenarios;

import com.google.protobuf.ByteString;
import io.grpc.Channel;
import io.grpc.StatusException;
import tilde.v1.BrokerGrpc;
import tilde.v1.Durability;
import tilde.v1.PublishRequest;
import tilde.v1.PublishResponse;

/** Publish text and bytes, and publish again what may or may not have arrived. */
final class Publish {
    static void run(Channel channel, String prefix) throws StatusException {
        var broker = BrokerGrpc.newBlockingV2Stub(channel);
        System.out.println("publish");

        PublishResponse text = broker.publish(PublishRequest.newBuilder()
                .setTopic(prefix + "orders/eu")
                .setText("{\"id\":7}")
                .putAttributes("tenant", "acme")
                .putAttributes("important", "true")
                .build());
        checkComplete(text);
        System.out.println("  text: SYNCED, with a sequence, a time and a cursor");

        PublishResponse data = broker.publish(PublishRequest.newBuilder()
                .setTopic(prefix + "images/7")
                .setData(ByteString.fromHex("89504e4700"))
                .setContentType("image/png")
                .putAttributes("tenant", "acme")
                .build());
        checkComplete(data);
        Check.that(data.getSequence() > text.getSequence(), data);
        System.out.println("  bytes: SYNCED, with a sequence, a time and a cursor");

        // Whoever does not know whether a publish arrived sends it again: with a message_id it counts once.
        PublishRequest payment = PublishRequest.newBuilder()
                .setTopic(prefix + "payments")
                .setText("paid")
                .setMessageId("payment-7")
                .build();
        PublishResponse first = broker.publish(payment);
        PublishResponse again = broker.publish(payment);
        Check.that(!first.getDuplicate() && again.getDuplicate(), again);
        Check.that(again.getSequence() == first.getSequence(), again);
        System.out.println("  again with its message_id: a duplicate, with the sequence of the first");
    }

    private static void checkComplete(PublishResponse answer) {
        Check.that(answer.getDurability() == Durability.DURABILITY_SYNCED && !answer.getDuplicate(), answer);
        Check.that(answer.getSequence() > 0 && answer.hasPublishTime() && !answer.getCursor().isEmpty(), answer);
    }
}
