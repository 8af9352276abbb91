package cli

import (
	"context"

	"github.com/spf13/cobra"

	"banger/client"
)

type doctorOptions struct {
	client.DoctorRequest
	format format
}

func newDoctor(a *app) *cobra.Command {
	var o doctorOptions
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say whether VMs can run here, and what keeps them from it",
		Long: `Say whether VMs can run here, what keeps them from it, and the command that mends it. It works whatever is wrong,
starts no daemon and changes nothing. The exit code is 1 when something keeps VMs from running, or, with --leaks, when
something was left behind that no VM accounts for; what is only a warning leaves it 0. With --quiet it does not tell of
what is well.

With --leaks what is looked at is this user's installation. Something that is just beginning or ending may be among the
leaks for a moment.`,
		Example: `  banger doctor
  banger doctor --verify                  read every byte of the images and kernels, too
  banger doctor --leaks --format json     what was left behind, for a program`,
		Args:              nothing,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return runDoctor(cmd.Context(), a, o) },
	}
	cmd.Flags().BoolVar(&o.Leaks, "leaks", false, "look for processes, files and more that no VM accounts for")
	cmd.Flags().BoolVar(&o.Verify, "verify", false, "compare every image and kernel with its digest, which takes seconds for each")
	addFormat(cmd, &o.format)
	return cmd
}

// diagnosis is the JSON form.
type diagnosis struct {
	OK bool `json:"ok"` // the exit code is 0
	client.Diagnosis
}

func runDoctor(ctx context.Context, a *app, o doctorOptions) error {
	o.Progress = func(line string) {
		if !a.quiet {
			a.say(line)
		}
	}
	found, err := a.doctor(ctx, o.DoctorRequest)
	if err != nil {
		return err
	}
	ok := found.Able() && len(found.Leaks) == 0
	if o.format == formatJSON {
		err = a.writeJSON(diagnosis{ok, found})
	} else {
		err = a.writeDiagnosis(found)
	}
	if err == nil && !ok {
		err = &statusError{exitError}
	}
	return err
}

// writeDiagnosis prints a line for each check, the command that mends it below, and the leaks. With --quiet only what is
// wrong is named.
func (a *app) writeDiagnosis(d client.Diagnosis) error {
	var rows [][]string
	for _, c := range d.Checks {
		if a.quiet && c.Status == client.CheckOK {
			continue
		}
		rows = append(rows, []string{c.Name, string(c.Status), c.Detail})
		if c.Fix != "" && c.Status != client.CheckOK {
			rows = append(rows, []string{"", "", "run: " + c.Fix})
		}
	}
	if !a.quiet || len(rows) > 0 {
		if err := a.writeTable([]string{"CHECK", "STATUS", "DETAIL"}, rows); err != nil {
			return err
		}
	}
	if len(d.Leaks) == 0 {
		return nil
	}
	rows = rows[:0]
	for _, l := range d.Leaks {
		rows = append(rows, []string{l.Kind, l.What, l.Why})
	}
	if err := a.write([]byte("\n")); err != nil {
		return err
	}
	return a.writeTable([]string{"LEAKED", "WHAT", "WHY"}, rows)
}
