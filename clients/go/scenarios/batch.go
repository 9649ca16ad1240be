package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc"

	pb "tilde/clients/go/tilde/v1"
)

const (
	requests       = 1000
	requestsAFrame = 100
)

// batch publishes many messages at once: in one call, all or none, and on a stream that may be sent again.
func batch(ctx context.Context, conn *grpc.ClientConn, prefix string) error {
	broker := pb.NewBrokerClient(conn)
	fmt.Println("batch and stream publish")

	// Each request of a batch has a result of its own.
	answer, err := broker.BatchPublish(ctx, &pb.BatchPublishRequest{Requests: withABadOne(prefix + "batch")})
	if err != nil {
		return err
	}
	var outcomes []string
	for _, result := range answer.Results {
		outcomes = append(outcomes, outcome(result))
	}
	fmt.Println("  batch:", strings.Join(outcomes, ", "))

	// An atomic batch is taken or refused as a whole.
	_, err = broker.BatchPublish(ctx, &pb.BatchPublishRequest{Requests: withABadOne(prefix + "atomic"), Atomic: true})
	refused := refusalOf(err)
	fmt.Printf("  atomic: %v, field %v\n", refused, refused.field)
	_, err = pb.NewTopicsClient(conn).GetTopic(ctx, &pb.GetTopicRequest{Name: prefix + "atomic"})
	fmt.Println("  its topic:", refusalOf(err))

	// A stream has many requests in flight. Numbered by a producer, they may be sent again.
	for _, attempt := range []string{"stream", "sent again"} {
		report, err := publishStream(ctx, broker, prefix+"stream", prefix+"producer")
		if err != nil {
			return err
		}
		fmt.Printf("  %s: %s\n", attempt, report)
	}
	return nil
}

func withABadOne(topic string) []*pb.PublishRequest {
	return []*pb.PublishRequest{
		{Topic: topic, Payload: &pb.PublishRequest_Text{Text: "good"}},
		{Topic: topic + "~", Payload: &pb.PublishRequest_Text{Text: "a topic holds no ~"}},
		{Topic: topic, Payload: &pb.PublishRequest_Text{Text: "good too"}},
	}
}

func outcome(result *pb.PublishResult) string {
	if refused := result.GetError(); refused != nil {
		return fmt.Sprintf("%v (%s)", code.Code(refused.Code), refused.Reason)
	}
	return "published"
}

// publishStream sends all requests, and reads the answers until the broker has given every one.
func publishStream(ctx context.Context, broker pb.BrokerClient, topic, producer string) (string, error) {
	stream, err := broker.PublishStream(ctx)
	if err != nil {
		return "", err
	}
	// Sending waits when the broker has enough to do, so answers are read beside it. If it fails, so does Recv.
	go func() {
		for first := 1; first <= requests; first += requestsAFrame {
			if stream.Send(frame(topic, producer, first)) != nil {
				return
			}
		}
		stream.CloseSend()
	}()

	var nextNumber uint64
	var duplicates uint32
	var answered [requests]int
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
		if len(response.Failures) > 0 {
			return "", fmt.Errorf("refused: %v", response.Failures)
		}
		if response.NextNumber != nil { // in the first response, alone
			nextNumber = *response.NextNumber
		}
		for _, run := range response.Published {
			for request := range uint64(run.Requests) {
				answered[run.FirstRequest+request]++
			}
			if run.Duplicate {
				duplicates += run.Requests
			}
		}
	}
	for request, times := range answered {
		if times != 1 {
			return "", fmt.Errorf("request %d was answered %d times", request, times)
		}
	}
	report := "next number %d, %d requests answered once each, %d of them duplicates"
	return fmt.Sprintf(report, nextNumber, requests, duplicates), nil
}

func frame(topic, producer string, first int) *pb.PublishStreamRequest {
	frame := &pb.PublishStreamRequest{}
	if first == 1 {
		frame.ProducerId, frame.FirstNumber = producer, 1
	}
	for number := first; number < first+requestsAFrame; number++ {
		text := &pb.PublishRequest_Text{Text: strconv.Itoa(number)}
		frame.Requests = append(frame.Requests, &pb.PublishRequest{Topic: topic, Payload: text})
	}
	return frame
}
