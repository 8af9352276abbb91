package cli

import (
	"context"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"banger/client"
)

// completeCP offers VMs, paths in them, and files of this host.
func (a *app) completeCP(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	if place := parsePlace(start); place.ref != "" {
		return a.completeGuestPath(cmd.Context(), start, place)
	}
	if strings.ContainsAny(start, ":/.") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	names, _ := a.live(cmd.Context(), start, func(ctx context.Context, c *client.Client) ([]string, error) {
		vms, err := c.VMs(ctx, true)
		return mapped(vms, func(v client.VM) string { return v.Name + ":" }), err
	})
	if len(names) == 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return names, cobra.ShellCompDirectiveNoSpace
}

// completeGuestPath offers what lies in the guest where the typed path ends. A directory is not the end of a path, so that
// no space follows it.
func (a *app) completeGuestPath(ctx context.Context, start string, place cpPlace) ([]string, cobra.ShellCompDirective) {
	dir, prefix := path.Split(place.path)
	if place.path == "" {
		dir = "/"
	}
	found, directive := a.live(ctx, start, func(ctx context.Context, c *client.Client) ([]string, error) {
		v, err := resolveOne(ctx, c, place.ref)
		if err != nil {
			return nil, err
		}
		names, err := c.ListFiles(ctx, v.ID, path.Clean("/"+dir), prefix)
		var paths []string
		for _, n := range names {
			if !typeable(n.Name) || strings.HasPrefix(n.Name, ".") && prefix == "" {
				continue
			}
			whole := place.ref + ":" + dir + n.Name
			if n.Dir {
				whole += "/"
			}
			paths = append(paths, whole)
		}
		slices.Sort(paths)
		return paths, err
	})
	if len(found) != 1 || strings.HasSuffix(found[0], "/") {
		directive |= cobra.ShellCompDirectiveNoSpace
	}
	return found, directive
}

// typeable says whether a guest's name is offered to a shell. The functions that shells complete with put words through
// several expansions, so that only names in which no shell sees anything special are handed to them.
func typeable(name string) bool {
	for _, r := range name {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._-+@%,", r) {
			return false
		}
	}
	return true
}
