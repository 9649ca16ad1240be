package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/grpc"

	pb "tilde/clients/go/tilde/v1"
)

// subscribe reads what matches a pattern, stops, and goes on at the cursor: nothing is missed, and nothing comes twice.
func subscribe(ctx context.Context, conn *grpc.ClientConn, prefix string) error {
	broker := pb.NewBrokerClient(conn)
	shop := prefix + "shop/"
	topics := []string{shop + "orders/~"}
	fmt.Println("subscribe")

	for _, message := range [][2]string{
		{"orders/eu", "first"}, {"orders/us", "second"}, {"refunds/eu", "does not match"}, {"orders/eu", "third"},
	} {
		if err := publishText(ctx, broker, shop+message[0], message[1]); err != nil {
			return err
		}
	}

	texts, _, err := read(ctx, broker, &pb.SubscribeRequest{Topics: topics, Start: earliest(), StopAtEnd: true})
	if err != nil {
		return err
	}
	fmt.Println("  all from the earliest:", strings.Join(texts, ", "))

	texts, cursor, err := read(ctx, broker, &pb.SubscribeRequest{Topics: topics, Start: earliest(), MaxMessages: 2})
	if err != nil {
		return err
	}
	fmt.Println("  the first two:", strings.Join(texts, ", "))

	if err := publishText(ctx, broker, shop+"orders/us", "fourth"); err != nil {
		return err
	}
	texts, _, err = read(ctx, broker, &pb.SubscribeRequest{Topics: topics, Start: after(cursor), StopAtEnd: true})
	if err != nil {
		return err
	}
	fmt.Println("  resumed at the cursor:", strings.Join(texts, ", "))
	return nil
}

// read reads a stream to its end: the texts, and the cursor after them.
func read(ctx context.Context, broker pb.BrokerClient, request *pb.SubscribeRequest) ([]string, string, error) {
	stream, err := broker.Subscribe(ctx, request)
	if err != nil {
		return nil, "", err
	}
	var texts []string
	var cursor string
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return texts, cursor, nil
		}
		if err != nil {
			return nil, "", err
		}
		for _, message := range response.Messages {
			texts = append(texts, message.GetText())
		}
		cursor = response.Cursor // every response has one
	}
}

func earliest() *pb.StartPosition {
	return &pb.StartPosition{Position: &pb.StartPosition_Preset_{Preset: pb.StartPosition_PRESET_EARLIEST}}
}

func after(cursor string) *pb.StartPosition {
	return &pb.StartPosition{Position: &pb.StartPosition_AfterCursor{AfterCursor: cursor}}
}

func publishText(ctx context.Context, broker pb.BrokerClient, topic, text string) error {
	_, err := broker.Publish(ctx, &pb.PublishRequest{Topic: topic, Payload: &pb.PublishRequest_Text{Text: text}})
	return err
}
