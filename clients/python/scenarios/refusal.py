"""What a status of the broker says: for a program the reason, the field at fault, facts, and the time to wait."""

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc_status import rpc_status


class Refusal:
    def __init__(self, error: grpc.RpcError) -> None:
        self.code: grpc.StatusCode = error.code()
        self.reason = ""
        self.field = ""
        self.metadata: dict[str, str] = {}
        self.retry_delay_seconds = 1.0  # a broker that cannot be reached says nothing
        status = rpc_status.from_call(error)
        for detail in status.details if status else ():
            if detail.Is(ErrorInfo.DESCRIPTOR):
                info = ErrorInfo.FromString(detail.value)
                self.reason, self.metadata = info.reason, dict(info.metadata)
            elif detail.Is(BadRequest.DESCRIPTOR):
                self.field = BadRequest.FromString(detail.value).field_violations[0].field
            elif detail.Is(RetryInfo.DESCRIPTOR):
                self.retry_delay_seconds = RetryInfo.FromString(detail.value).retry_delay.ToTimedelta().total_seconds()

    def __str__(self) -> str:
        return f"{self.code.name} ({self.reason})"
