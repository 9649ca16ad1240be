package scenarios;

import io.grpc.Channel;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.stub.BlockingClientCall;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;
import tilde.v1.BatchPublishRequest;
import tilde.v1.BrokerGrpc;
import tilde.v1.BrokerGrpc.BrokerBlockingV2Stub;
import tilde.v1.GetTopicRequest;
import tilde.v1.PublishRequest;
import tilde.v1.PublishResult;
import tilde.v1.PublishStreamRequest;
import tilde.v1.PublishStreamResponse;
import tilde.v1.PublishedRun;
import tilde.v1.TopicsGrpc;

/** Publish many messages at once: in one call, all or none, and on a stream that may be sent again. */
final class Batch {
    private static final int REQUESTS = 1000;
    private static final int REQUESTS_A_FRAME = 100;

    static void run(Channel channel, String prefix) throws Exception {
        var broker = BrokerGrpc.newBlockingV2Stub(channel);
        System.out.println("batch and stream publish");

        // Each request of a batch has a result of its own.
        List<PublishResult> results = broker.batchPublish(withABadOne(prefix + "batch").build()).getResultsList();
        System.out.println("  batch: " + results.stream().map(Batch::outcome).collect(Collectors.joining(", ")));

        // An atomic batch is taken or refused as a whole.
        BatchPublishRequest atomic = withABadOne(prefix + "atomic").setAtomic(true).build();
        Refusal refusal = Refusal.of(() -> broker.batchPublish(atomic));
        System.out.println("  atomic: " + refusal + ", field " + refusal.field());
        GetTopicRequest topic = GetTopicRequest.newBuilder().setName(prefix + "atomic").build();
        System.out.println("  its topic: " + Refusal.of(() -> TopicsGrpc.newBlockingV2Stub(channel).getTopic(topic)));

        // A stream has many requests in flight. Numbered by a producer, they may be sent again.
        for (String attempt : List.of("stream", "sent again")) {
            String report = publishStream(broker, prefix + "stream", prefix + "producer");
            System.out.println("  " + attempt + ": " + report);
        }
    }

    private static BatchPublishRequest.Builder withABadOne(String topic) {
        return BatchPublishRequest.newBuilder()
                .addRequests(PublishRequest.newBuilder().setTopic(topic).setText("good"))
                .addRequests(PublishRequest.newBuilder().setTopic(topic + "~").setText("a topic holds no ~"))
                .addRequests(PublishRequest.newBuilder().setTopic(topic).setText("good too"));
    }

    private static String outcome(PublishResult result) {
        if (result.hasPublished()) {
            return "published";
        }
        return Status.fromCodeValue(result.getError().getCode()).getCode() + " (" + result.getError().getReason() + ")";
    }

    /** Sends all requests, and reads the answers until the broker has given every one. */
    private static String publishStream(BrokerBlockingV2Stub broker, String topic, String producer) throws Exception {
        var stream = broker.publishStream();
        // Sending waits when the broker has enough to do, so answers are read beside it. If it fails, so does reading.
        Thread sender = new Thread(() -> send(stream, topic, producer));
        sender.start();

        long nextNumber = 0;
        int duplicates = 0;
        int[] answered = new int[REQUESTS];
        for (PublishStreamResponse response; (response = stream.read()) != null; ) {
            Check.that(response.getFailuresCount() == 0, response);
            if (response.hasNextNumber()) { // in the first response, alone
                nextNumber = response.getNextNumber();
            }
            for (PublishedRun run : response.getPublishedList()) {
                int first = (int) run.getFirstRequest();
                for (int request = first; request < first + run.getRequests(); request++) {
                    answered[request]++;
                }
                duplicates += run.getDuplicate() ? run.getRequests() : 0;
            }
        }
        sender.join();
        Check.that(Arrays.stream(answered).allMatch(times -> times == 1), Arrays.toString(answered));
        String report = "next number %d, %d requests answered once each, %d of them duplicates";
        return String.format(report, nextNumber, REQUESTS, duplicates);
    }

    private static void send(
            BlockingClientCall<PublishStreamRequest, PublishStreamResponse> stream, String topic, String producer) {
        try {
            for (int first = 1; first <= REQUESTS; first += REQUESTS_A_FRAME) {
                var frame = PublishStreamRequest.newBuilder();
                if (first == 1) {
                    frame.setProducerId(producer).setFirstNumber(1);
                }
                for (int number = first; number < first + REQUESTS_A_FRAME; number++) {
                    frame.addRequestsBuilder().setTopic(topic).setText(Integer.toString(number));
                }
                stream.write(frame.build());
            }
            stream.halfClose();
        } catch (InterruptedException | StatusException error) {
            stream.cancel("sending failed", error);
        }
    }
}
