package cli

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"banger/internal/model"
)

// sizeFlag is a number of bytes, written 512M or 4GiB; 0 stands for not given.
type sizeFlag int64

func (f *sizeFlag) Type() string { return "size" }

func (f *sizeFlag) String() string {
	if *f == 0 {
		return ""
	}
	return model.FormatSize(int64(*f))
}

func (f *sizeFlag) Set(text string) error {
	n, err := model.ParseSize(text)
	*f = sizeFlag(n)
	return err
}

// countFlag is a positive number; 0 stands for not given.
type countFlag int

func (f *countFlag) Type() string { return "number" }

func (f *countFlag) String() string {
	if *f == 0 {
		return ""
	}
	return strconv.Itoa(int(*f))
}

func (f *countFlag) Set(text string) error {
	n, err := strconv.ParseInt(text, 10, 31)
	if err != nil || n < 1 {
		return fmt.Errorf("%q is not a positive number", text)
	}
	*f = countFlag(n)
	return nil
}

// durationFlag is a time, written 30s or 5m; a bare number counts seconds, as docker's do.
type durationFlag time.Duration

func (f *durationFlag) Type() string { return "duration" }

func (f *durationFlag) String() string {
	if *f == 0 {
		return ""
	}
	return time.Duration(*f).String()
}

func (f *durationFlag) Set(text string) error {
	d, err := time.ParseDuration(text)
	if seconds, atoi := strconv.ParseInt(text, 10, 32); atoi == nil {
		d, err = time.Duration(seconds)*time.Second, nil
	}
	if err != nil || d < 0 {
		return fmt.Errorf("%q is not a time: write 30s or 5m", text)
	}
	*f = durationFlag(d)
	return nil
}

// format is how a list or a show is written.
type format string

const (
	formatTable format = "table"
	formatJSON  format = "json"
)

func (f *format) Type() string   { return "table|json" }
func (f *format) String() string { return string(*f) }

func (f *format) Set(text string) error {
	switch v := format(text); v {
	case formatTable, formatJSON:
		*f = v
		return nil
	}
	return fmt.Errorf("%q is not a format: table and json are", text)
}

func addFormat(cmd *cobra.Command, f *format) {
	*f = formatTable
	cmd.Flags().Var(f, "format", "how to write the result")
	complete(cmd, "format", string(formatTable), string(formatJSON))
}

// complete makes a fixed set of words the completions of a flag.
func complete(cmd *cobra.Command, flag string, words ...string) {
	completeFlag(cmd, flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

func completeFlag(cmd *cobra.Command, flag string, f cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err) // the flag does not exist: a mistake of the programmer's, which every test meets
	}
}
