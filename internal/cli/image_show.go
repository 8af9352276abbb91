package cli

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"banger/client"
)

func newImageShow(a *app) *cobra.Command {
	var f format
	cmd := &cobra.Command{
		Use:               "show IMAGE...",
		Aliases:           []string{"inspect"},
		Short:             "Show what images are",
		Long:              "Show what images are. As JSON, one image is an object and several are a list.",
		Example:           `  banger image show debian`,
		Args:              names("image", 1, 0),
		ValidArgsFunction: a.completeImages,
		RunE:              func(cmd *cobra.Command, refs []string) error { return runImageShow(cmd.Context(), a, f, refs) },
	}
	addFormat(cmd, &f)
	return cmd
}

func runImageShow(ctx context.Context, a *app, f format, refs []string) error {
	found := []client.Image{}
	failures := a.forEach(ctx, refs, func(ctx context.Context, c *client.Client, ref string) (string, error) {
		one, err := c.Image(ctx, ref)
		if err == nil {
			found = append(found, one)
		}
		return "", err
	})
	if err := showEach(a, f, len(refs) > 1, found, imageFields); err != nil {
		return err
	}
	return failures
}

func imageFields(i client.Image) [][2]string {
	init := i.Init
	if i.InitPath != "" {
		init += ", " + i.InitPath
	}
	fields := [][2]string{
		{"Name", i.Name}, {"Digest", i.Digest}, {"Platform", i.Platform}, {"Source", i.Source}, {"Init", init},
		{"Size", size(i.SizeBytes)}, {"On disk", size(i.DiskBytes)}, {"Created", i.CreatedAt.Local().Format(time.RFC3339)},
	}
	for _, f := range [][2]string{
		{"Other names", strings.Join(i.Tags[min(1, len(i.Tags)):], ", ")}, {"Reference", i.Reference}, {"Manifest", i.Manifest},
		{"Entrypoint", quoted(i.Entrypoint)}, {"Command", quoted(i.Cmd)}, {"Environment", strings.Join(i.Env, " ")},
		{"Directory", i.Workdir}, {"User", i.User}, {"Stop signal", i.StopSignal},
	} {
		if f[1] != "" {
			fields = append(fields, f)
		}
	}
	if i.Default {
		fields = append(fields, [2]string{"Default", "yes"})
	}
	return fields
}

// quoted shows a command so that its words can be told apart.
func quoted(words []string) string {
	shown := make([]string, len(words))
	for n, w := range words {
		if shown[n] = w; w == "" || strings.ContainsAny(w, " \t\n\"'\\") {
			shown[n] = strconv.Quote(w)
		}
	}
	return strings.Join(shown, " ")
}
