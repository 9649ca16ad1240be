package main

import (
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

// refusal is what a status of the broker says to a program.
type refusal struct {
	code       code.Code
	reason     string
	field      string
	metadata   map[string]string
	retryDelay time.Duration
}

// refusalOf reads the details of a status. Without an error its code is OK.
func refusalOf(err error) refusal {
	answer := status.Convert(err)
	// A broker that cannot be reached says nothing of when to try again.
	refused := refusal{code: code.Code(answer.Code()), retryDelay: time.Second}
	for _, detail := range answer.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			refused.reason, refused.metadata = detail.Reason, detail.Metadata
		case *errdetails.BadRequest:
			refused.field = detail.FieldViolations[0].Field
		case *errdetails.RetryInfo:
			refused.retryDelay = detail.RetryDelay.AsDuration()
		}
	}
	return refused
}

func (r refusal) String() string {
	return fmt.Sprintf("%v (%s)", r.code, r.reason)
}
