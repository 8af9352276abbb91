package doctor

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"banger/internal/companion"
	"banger/internal/model"
	"banger/internal/version"
)

// Programs says whether banger's other programs lie where this one looks for them, and are of its version. client is the
// version of the banger that asks, "" when none does.
func Programs(ctx context.Context, client string, names ...string) model.Check {
	all := []string{"bangerd"}
	var others []string // with their versions
	if client != "" {
		all = append(all, "banger")
		others = differing(others, "banger", client)
	}
	where := ""
	for _, name := range names {
		path, err := companion.Find(name)
		theirs := ""
		if err == nil {
			theirs, err = companion.Version(ctx, path)
		}
		if err != nil {
			return model.CheckOf("programs", err, "")
		}
		all, others = append(all, name), differing(others, name, theirs)
		where = " in " + filepath.Dir(path)
	}
	if len(others) > 0 {
		return model.Check{Name: "programs", Status: model.CheckWarning,
			Detail: fmt.Sprintf("bangerd is version %s, but %s; install banger again", version.Version, strings.Join(others, ", "))}
	}
	return model.Check{Name: "programs", Status: model.CheckOK, Detail: fmt.Sprintf("%s are version %s,%s", strings.Join(all, ", "), version.Version, where)}
}

func differing(others []string, name, theirs string) []string {
	if theirs == version.Version {
		return others
	}
	return append(others, name+" is "+theirs)
}
