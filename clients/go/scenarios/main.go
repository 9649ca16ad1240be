// Command scenarios runs the five scenarios against a broker: go run ./scenarios [HOST:PORT]
//
// The fifth drains the broker, and waits for it to come back on the same port with the same data.
package main

import (
	"context"
	"crypto/rand"
	"log"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

func main() {
	log.SetFlags(0)
	address := "127.0.0.1:7126"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	// Topics of this run only, so that nothing that is there already gets in the way.
	prefix := "scenarios/" + rand.Text() + "/"
	for _, scenario := range []func(context.Context, *grpc.ClientConn, string) error{
		publish, subscribe, batch, errorDetails, drain,
	} {
		if err := scenario(context.Background(), conn, prefix); err != nil {
			log.Fatal(err)
		}
	}
}
