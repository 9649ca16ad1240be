package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	pb "tilde/clients/go/tilde/v1"
)

// errorDetails shows what the broker refuses, and what its details tell a program: the reason, the field, facts, and
// when to try again.
func errorDetails(ctx context.Context, conn *grpc.ClientConn, prefix string) error {
	broker := pb.NewBrokerClient(conn)
	fmt.Println("errors with their details")

	_, err := broker.Publish(ctx, &pb.PublishRequest{Topic: prefix + "a~"}) // a topic holds no ~
	refused := refusalOf(err)
	fmt.Printf("  a bad topic: %v, field %s\n", refused, refused.field)

	_, err = broker.Publish(ctx, &pb.PublishRequest{Topic: prefix + "a", Namespace: "no-such-namespace"})
	fmt.Println("  an unknown namespace:", refusalOf(err))

	// Publish only if nobody was faster: the topic's last sequence is still the one that was read.
	ifEmpty := &pb.PublishRequest{Topic: prefix + "config", ExpectedLastSequence: proto.Uint64(0)}
	first, err := broker.Publish(ctx, ifEmpty)
	if err != nil {
		return err
	}
	_, err = broker.Publish(ctx, ifEmpty)
	refused = refusalOf(err)
	if actual := refused.metadata["actual"]; actual != strconv.FormatUint(first.Sequence, 10) {
		return fmt.Errorf("the actual sequence is %d, not %q", first.Sequence, actual)
	}
	fmt.Printf("  somebody was faster: %v, and the actual sequence\n", refused)

	// A namespace of its own, which takes one message a second.
	namespaces := pb.NewNamespacesClient(conn)
	namespace := "scenarios-" + strings.ToLower(rand.Text())
	settings := &pb.Namespace{Name: namespace, MaxMessagesPerSecond: proto.Uint64(1)}
	if _, err := namespaces.CreateNamespace(ctx, &pb.CreateNamespaceRequest{Namespace: settings}); err != nil {
		return err
	}
	if err := tooFast(ctx, broker, &pb.PublishRequest{Topic: "a", Namespace: namespace}); err != nil {
		return err
	}
	_, err = namespaces.DeleteNamespace(ctx, &pb.DeleteNamespaceRequest{Name: namespace})
	return err
}

func tooFast(ctx context.Context, broker pb.BrokerClient, request *pb.PublishRequest) error {
	var err error
	for err == nil {
		_, err = broker.Publish(ctx, request)
	}
	refused := refusalOf(err)
	fmt.Printf("  too fast: %v, and when to try again\n", refused)
	time.Sleep(refused.retryDelay)
	if _, err = broker.Publish(ctx, request); err != nil {
		return err
	}
	fmt.Println("  after that time: published")
	return nil
}
