package cli

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"banger/internal/version"
)

// versions is the JSON form. With --client only the client's are there.
type versions struct {
	Client        string `json:"client"`
	Protocol      int    `json:"protocol"` // of the client
	Daemon        string `json:"daemon,omitempty"`
	DaemonProto   int    `json:"daemon_protocol,omitempty"`
	Agent         string `json:"agent,omitempty"` // that new VMs get
	AgentProtocol int    `json:"agent_protocol,omitempty"`
}

func newVersion(a *app) *cobra.Command {
	var f format
	var clientOnly bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of the client, the daemon and the agent",
		Example: `  banger version
  banger version --client`,
		Args:              nothing,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return runVersion(cmd.Context(), a, f, clientOnly) },
	}
	cmd.Flags().BoolVar(&clientOnly, "client", false, "only this program's; asks no daemon")
	addFormat(cmd, &f)
	return cmd
}

func runVersion(ctx context.Context, a *app, f format, clientOnly bool) error {
	v := versions{Client: version.Version, Protocol: version.API}
	var unanswered error
	if !clientOnly {
		unanswered = askVersions(ctx, a, &v)
	}
	if err := a.writeVersions(f, v); err != nil {
		return err
	}
	return unanswered
}

func askVersions(ctx context.Context, a *app, v *versions) error {
	c, err := a.dial(ctx, true)
	if err != nil {
		return err
	}
	defer c.Close()
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	v.Daemon, v.DaemonProto, v.Agent, v.AgentProtocol = s.Version, s.Protocol, s.AgentVersion, s.AgentProtocol
	return nil
}

func (a *app) writeVersions(f format, v versions) error {
	if f == formatJSON {
		return a.writeJSON(v)
	}
	fields := [][2]string{{"Client", v.Client}, {"Protocol", strconv.Itoa(v.Protocol)}}
	if v.Daemon != "" {
		fields = append(fields, [2]string{"Daemon", v.Daemon}, [2]string{"Agent", v.Agent})
	}
	return a.writeFields(fields)
}
