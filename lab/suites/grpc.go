package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

// serveGRPC is the interoperability server of grpc-go.
func serveGRPC(listener net.Listener) {
	server := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(server, interop.NewTestServer())
	go server.Serve(listener)
}

// The cases of the interoperability document that need neither authentication nor compression of the peer.
var grpcCases = map[string]func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption){
	"empty_unary":         interop.DoEmptyUnaryCall,
	"large_unary":         interop.DoLargeUnaryCall,
	"client_streaming":    interop.DoClientStreaming,
	"server_streaming":    interop.DoServerStreaming,
	"ping_pong":           interop.DoPingPong,
	"empty_stream":        interop.DoEmptyStream,
	"timeout_on_sleeping": interop.DoTimeoutOnSleepingServer,
	"cancel_after_begin":  interop.DoCancelAfterBegin,
	"cancel_after_first":  interop.DoCancelAfterFirstResponse,
	"custom_metadata":     interop.DoCustomMetadata,
	"status_code":         interop.DoStatusCodeAndMessage,
	"special_status":      interop.DoSpecialStatusMessage,
}

func runGRPC(gw *gateway) (passed, total int, err error) {
	target := fmt.Sprintf("passthrough:///127.0.0.1:%d", gw.grpc)
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority(host))
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close()
	client := testgrpc.NewTestServiceClient(conn)
	// A case that fails ends the process with its reason, as grpc-go's own client does.
	for _, run := range grpcCases {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		run(ctx, client)
		cancel()
		passed++
	}
	interop.DoUnimplementedMethod(context.Background(), conn)
	interop.DoUnimplementedService(context.Background(), testgrpc.NewUnimplementedServiceClient(conn))
	return passed + 2, len(grpcCases) + 2, nil
}
