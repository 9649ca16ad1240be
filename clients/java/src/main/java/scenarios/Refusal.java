package scenarios;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.Map;

/** What a status of the broker says: for a program the reason, the field at fault, facts, and the time to wait. */
record Refusal(Status.Code code, String reason, String field, Map<String, String> metadata, Duration retryDelay) {
    /** Something that the broker must refuse. */
    interface Call {
        void run() throws StatusException;
    }

    static Refusal of(StatusException error) {
        String reason = "";
        String field = "";
        Map<String, String> metadata = Map.of();
        Duration retryDelay = Duration.ofSeconds(1); // a broker that cannot be reached says nothing
        try {
            for (Any detail : StatusProto.fromThrowable(error).getDetailsList()) {
                if (detail.is(ErrorInfo.class)) {
                    ErrorInfo info = detail.unpack(ErrorInfo.class);
                    reason = info.getReason();
                    metadata = info.getMetadataMap();
                } else if (detail.is(BadRequest.class)) {
                    field = detail.unpack(BadRequest.class).getFieldViolations(0).getField();
                } else if (detail.is(RetryInfo.class)) {
                    var delay = detail.unpack(RetryInfo.class).getRetryDelay();
                    retryDelay = Duration.ofSeconds(delay.getSeconds(), delay.getNanos());
                }
            }
        } catch (InvalidProtocolBufferException malformed) {
            throw new IllegalStateException("the details of a status are malformed", malformed);
        }
        return new Refusal(error.getStatus().getCode(), reason, field, metadata, retryDelay);
    }

    /** The refusal of a call that must be refused. */
    static Refusal of(Call call) {
        try {
            call.run();
        } catch (StatusException error) {
            return of(error);
        }
        throw new AssertionError("it was not refused");
    }

    @Override
    public String toString() {
        return code + " (" + reason + ")";
    }
}
