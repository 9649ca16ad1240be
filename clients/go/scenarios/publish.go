package main

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	pb "tilde/clients/go/tilde/v1"
)

// publish publishes text and bytes, and publishes again what may or may not have arrived.
func publish(ctx context.Context, conn *grpc.ClientConn, prefix string) error {
	broker := pb.NewBrokerClient(conn)
	fmt.Println("publish")

	text, err := broker.Publish(ctx, &pb.PublishRequest{
		Topic:      prefix + "orders/eu",
		Payload:    &pb.PublishRequest_Text{Text: `{"id":7}`},
		Attributes: map[string]string{"tenant": "acme", "important": "true"},
	})
	if err != nil {
		return err
	}
	if !complete(text) {
		return fmt.Errorf("incomplete: %v", text)
	}
	fmt.Println("  text: SYNCED, with a sequence, a time and a cursor")

	data, err := broker.Publish(ctx, &pb.PublishRequest{
		Topic:       prefix + "images/7",
		Payload:     &pb.PublishRequest_Data{Data: []byte("\x89PNG\x00")},
		ContentType: "image/png",
		Attributes:  map[string]string{"tenant": "acme"},
	})
	if err != nil {
		return err
	}
	if !complete(data) || data.Sequence <= text.Sequence {
		return fmt.Errorf("incomplete, or not after %d: %v", text.Sequence, data)
	}
	fmt.Println("  bytes: SYNCED, with a sequence, a time and a cursor")

	// Whoever does not know whether a publish arrived sends it again: with a message_id it counts once.
	payment := &pb.PublishRequest{
		Topic:     prefix + "payments",
		Payload:   &pb.PublishRequest_Text{Text: "paid"},
		MessageId: "payment-7",
	}
	first, err := broker.Publish(ctx, payment)
	if err != nil {
		return err
	}
	again, err := broker.Publish(ctx, payment)
	if err != nil {
		return err
	}
	if first.Duplicate || !again.Duplicate || again.Sequence != first.Sequence {
		return fmt.Errorf("not the same: %v and %v", first, again)
	}
	fmt.Println("  again with its message_id: a duplicate, with the sequence of the first")
	return nil
}

func complete(answer *pb.PublishResponse) bool {
	return answer.Durability == pb.Durability_DURABILITY_SYNCED && !answer.Duplicate &&
		answer.Sequence > 0 && answer.PublishTime.IsValid() && answer.Cursor != ""
}
