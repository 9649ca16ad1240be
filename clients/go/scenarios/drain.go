package main

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc"

	pb "tilde/clients/go/tilde/v1"
)

// drain stops the broker under a live subscriber. When it is back, the subscriber goes on at its cursor and misses
// nothing.
func drain(ctx context.Context, conn *grpc.ClientConn, prefix string) error {
	broker := pb.NewBrokerClient(conn)
	topic := prefix + "tickets"
	fmt.Println("drain and reconnect")

	if err := publishAll(ctx, broker, topic, "1", "2", "3"); err != nil {
		return err
	}
	var received []string
	for response, err := range follow(ctx, broker, topic) {
		if err != nil {
			return err
		}
		if response.Gap != nil { // what retention removed before it was read
			fmt.Println("  Gap:", response.Gap.Reason)
		}
		if response.Closing != nil {
			fmt.Println("  Closing:", response.Closing.Reason)
			if err := publishAll(ctx, broker, topic, "5", "6"); err != nil { // refused until the broker is back
				return err
			}
		}
		for _, message := range response.Messages {
			received = append(received, message.GetText())
			if len(received) == 3 {
				fmt.Println("  before:", strings.Join(received, ", "))
				if err := publishAll(ctx, broker, topic, "4"); err != nil {
					return err
				}
				if _, err := pb.NewOperationsClient(conn).Drain(ctx, &pb.DrainRequest{}); err != nil {
					return err
				}
			}
		}
		if len(received) == 6 {
			break
		}
	}
	fmt.Println("  after:", strings.Join(received[3:], ", "))
	return nil
}

// follow gives all that matches, from the earliest on, across any stop of the broker.
func follow(ctx context.Context, broker pb.BrokerClient, pattern string) iter.Seq2[*pb.SubscribeResponse, error] {
	return func(yield func(*pb.SubscribeResponse, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		start := earliest()
		for {
			stream, err := broker.Subscribe(ctx, &pb.SubscribeRequest{Topics: []string{pattern}, Start: start})
			for err == nil {
				var response *pb.SubscribeResponse
				if response, err = stream.Recv(); err == nil {
					start = after(response.Cursor)
					if !yield(response, nil) {
						return
					}
				}
			}
			fmt.Println("  ended:", refusalOf(err))
			if err := waitForTheBroker(err); err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// publishAll publishes each text once, however often it has to be tried: the message_id makes that safe.
func publishAll(ctx context.Context, broker pb.BrokerClient, topic string, texts ...string) error {
	for _, text := range texts {
		payload := &pb.PublishRequest_Text{Text: text}
		request := &pb.PublishRequest{Topic: topic, Payload: payload, MessageId: text}
		for {
			_, err := broker.Publish(ctx, request)
			if err == nil {
				break
			}
			if err := waitForTheBroker(err); err != nil {
				return err
			}
		}
	}
	return nil
}

// waitForTheBroker waits as long as the broker asks for. It gives back an error that waiting does not help.
func waitForTheBroker(err error) error {
	refused := refusalOf(err)
	if refused.code != code.Code_UNAVAILABLE {
		return err
	}
	time.Sleep(refused.retryDelay)
	return nil
}
