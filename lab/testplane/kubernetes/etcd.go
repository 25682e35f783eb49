package main

import (
	"errors"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/embed"
)

// etcd serves clients on one address, without a second member and without waiting for the disk: what it holds need not
// outlive the machine, only the process.
func etcd() *cobra.Command {
	var folder, listen, peers string
	command := &cobra.Command{
		Use: "etcd",
		RunE: func(*cobra.Command, []string) error {
			config := embed.NewConfig()
			config.Dir, config.LogLevel, config.UnsafeNoFsync = folder, "error", true
			for text, addresses := range map[string]*[2]*[]url.URL{
				listen: {&config.ListenClientUrls, &config.AdvertiseClientUrls},
				peers:  {&config.ListenPeerUrls, &config.AdvertisePeerUrls},
			} {
				parsed, err := url.Parse(text)
				if err != nil {
					return err
				}
				*addresses[0], *addresses[1] = []url.URL{*parsed}, []url.URL{*parsed}
			}
			config.InitialCluster = config.InitialClusterFromName(config.Name)
			return serve(config)
		},
	}
	command.Flags().StringVar(&folder, "data-dir", "", "where it keeps its data")
	command.Flags().StringVar(&listen, "listen", "http://127.0.0.1:2379", "for clients")
	command.Flags().StringVar(&peers, "listen-peers", "http://127.0.0.1:2380", "for other members, of which there are none")
	return command
}

// serve until a signal, or an error.
func serve(config *embed.Config) error {
	server, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	defer server.Close()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	select {
	case <-signals:
		return nil
	case err := <-server.Err():
		return err
	case <-server.Server.StopNotify():
		return errors.New("etcd stopped by itself")
	}
}
