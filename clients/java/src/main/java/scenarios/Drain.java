package scenarios;

import static scenarios.Subscribe.EARLIEST;

import io.grpc.Channel;
import io.grpc.Status;
import io.grpc.StatusException;
import java.util.ArrayList;
import java.util.List;
import tilde.v1.BrokerGrpc;
import tilde.v1.BrokerGrpc.BrokerBlockingV2Stub;
import tilde.v1.DrainRequest;
import tilde.v1.Message;
import tilde.v1.OperationsGrpc;
import tilde.v1.PublishRequest;
import tilde.v1.StartPosition;
import tilde.v1.SubscribeRequest;
import tilde.v1.SubscribeResponse;

/** The broker is stopped and started again under a live subscriber, which goes on at its cursor and misses nothing. */
final class Drain {
    /** Takes responses until it has enough. */
    interface Handler {
        /** False ends the stream. */
        boolean handle(SubscribeResponse response) throws StatusException, InterruptedException;
    }

    static void run(Channel channel, String prefix) throws StatusException, InterruptedException {
        var broker = BrokerGrpc.newBlockingV2Stub(channel);
        String topic = prefix + "tickets";
        System.out.println("drain and reconnect");

        publish(broker, topic, "1", "2", "3");
        List<String> received = new ArrayList<>();
        follow(broker, topic, response -> {
            if (response.hasGap()) { // what retention removed before it was read
                System.out.println("  Gap: " + response.getGap().getReason());
            }
            if (response.hasClosing()) {
                System.out.println("  Closing: " + response.getClosing().getReason());
                publish(broker, topic, "5", "6"); // refused until the broker is back
            }
            for (Message message : response.getMessagesList()) {
                received.add(message.getText());
                if (received.size() == 3) {
                    System.out.println("  before: " + String.join(", ", received));
                    publish(broker, topic, "4");
                    OperationsGrpc.newBlockingV2Stub(channel).drain(DrainRequest.getDefaultInstance());
                }
            }
            return received.size() < 6;
        });
        System.out.println("  after: " + String.join(", ", received.subList(3, received.size())));
    }

    /** Hands over all that matches, from the earliest on, across any stop of the broker. */
    private static void follow(BrokerBlockingV2Stub broker, String pattern, Handler handler)
            throws StatusException, InterruptedException {
        StartPosition start = EARLIEST;
        while (true) {
            var stream = broker.subscribe(SubscribeRequest.newBuilder().addTopics(pattern).setStart(start).build());
            try {
                for (SubscribeResponse response; (response = stream.read()) != null; ) {
                    start = StartPosition.newBuilder().setAfterCursor(response.getCursor()).build();
                    if (!handler.handle(response)) {
                        stream.cancel("it has enough", null);
                        return;
                    }
                }
            } catch (StatusException error) {
                System.out.println("  ended: " + Refusal.of(error));
                waitForTheBroker(error);
            }
        }
    }

    /** Publishes each text once, however often it has to be tried: the message_id makes that safe. */
    private static void publish(BrokerBlockingV2Stub broker, String topic, String... texts)
            throws StatusException, InterruptedException {
        for (String text : texts) {
            var request = PublishRequest.newBuilder().setTopic(topic).setText(text).setMessageId(text).build();
            while (true) {
                try {
                    broker.publish(request);
                    break;
                } catch (StatusException error) {
                    waitForTheBroker(error);
                }
            }
        }
    }

    private static void waitForTheBroker(StatusException error) throws StatusException, InterruptedException {
        if (error.getStatus().getCode() != Status.Code.UNAVAILABLE) {
            throw error;
        }
        Thread.sleep(Refusal.of(error).retryDelay().toMillis());
    }
}
