package scenarios;

import io.grpc.Channel;
import io.grpc.StatusException;
import java.util.ArrayList;
import java.util.List;
import tilde.v1.BrokerGrpc;
import tilde.v1.BrokerGrpc.BrokerBlockingV2Stub;
import tilde.v1.PublishRequest;
import tilde.v1.StartPosition;
import tilde.v1.SubscribeRequest;
import tilde.v1.SubscribeResponse;

/** Read what matches a pattern, stop, and go on at the cursor: nothing is missed, and nothing comes twice. */
final class Subscribe {
    static final StartPosition EARLIEST =
            StartPosition.newBuilder().setPreset(StartPosition.Preset.PRESET_EARLIEST).build();

    /** What was read, and the cursor after it. */
    record Read(List<String> texts, String cursor) {
        @Override
        public String toString() {
            return String.join(", ", texts);
        }
    }

    static void run(Channel channel, String prefix) throws StatusException, InterruptedException {
        var broker = BrokerGrpc.newBlockingV2Stub(channel);
        SubscribeRequest orders = SubscribeRequest.newBuilder().addTopics(prefix + "shop/orders/~").build();
        System.out.println("subscribe");

        publish(broker, prefix + "shop/orders/eu", "first");
        publish(broker, prefix + "shop/orders/us", "second");
        publish(broker, prefix + "shop/refunds/eu", "does not match");
        publish(broker, prefix + "shop/orders/eu", "third");

        Read all = read(broker, orders.toBuilder().setStart(EARLIEST).setStopAtEnd(true).build());
        System.out.println("  all from the earliest: " + all);

        Read firstTwo = read(broker, orders.toBuilder().setStart(EARLIEST).setMaxMessages(2).build());
        System.out.println("  the first two: " + firstTwo);

        publish(broker, prefix + "shop/orders/us", "fourth");
        StartPosition after = StartPosition.newBuilder().setAfterCursor(firstTwo.cursor()).build();
        Read rest = read(broker, orders.toBuilder().setStart(after).setStopAtEnd(true).build());
        System.out.println("  resumed at the cursor: " + rest);
    }

    /** Reads a stream to its end. */
    private static Read read(BrokerBlockingV2Stub broker, SubscribeRequest request)
            throws StatusException, InterruptedException {
        List<String> texts = new ArrayList<>();
        String cursor = "";
        var stream = broker.subscribe(request);
        for (SubscribeResponse response; (response = stream.read()) != null; ) {
            response.getMessagesList().forEach(message -> texts.add(message.getText()));
            cursor = response.getCursor(); // every response has one
        }
        return new Read(texts, cursor);
    }

    private static void publish(BrokerBlockingV2Stub broker, String topic, String text) throws StatusException {
        broker.publish(PublishRequest.newBuilder().setTopic(topic).setText(text).build());
    }
}
