package conformance

import (
	"net"

	"github.com/miekg/dns"
)

// ServeDNS answers every question for an address with the asker's own, on UDP port 53: the suite asks for foo.bar.com and
// is content with any answer. It stands for the image of a DNS server.
func ServeDNS() error {
	answer := func(writer dns.ResponseWriter, question *dns.Msg) {
		reply := new(dns.Msg)
		reply.SetReply(question)
		host, _, _ := net.SplitHostPort(writer.RemoteAddr().String())
		for _, asked := range question.Question {
			if asked.Qtype == dns.TypeA {
				header := dns.RR_Header{Name: asked.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}
				reply.Answer = append(reply.Answer, &dns.A{Hdr: header, A: net.ParseIP(host).To4()})
			}
		}
		_ = writer.WriteMsg(reply)
	}
	return (&dns.Server{Addr: ":53", Net: "udp", Handler: dns.HandlerFunc(answer)}).ListenAndServe()
}
