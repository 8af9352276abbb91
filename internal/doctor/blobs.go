package doctor

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"banger/internal/dirs"
	"banger/internal/model"
)

// blob is what a row says of an image or a kernel.
type blob struct {
	digest model.Digest
	names  []string
}

// blobKind is one of the two directories of blobs, with the rows about it.
type blobKind struct {
	noun, dir string
	files     []string // that each has
	rows      []blob
}

func blobKinds(d dirs.Dirs, r Rows) []blobKind {
	images := blobKind{noun: "image", dir: d.Images(), files: []string{"root.ext4"}}
	for _, i := range r.Images {
		images.rows = append(images.rows, blob{i.Digest, i.Tags})
	}
	kernels := blobKind{noun: "kernel", dir: d.Kernels(), files: []string{"vmlinux", "modules.ext4", "early.cpio"}}
	for _, k := range r.Kernels {
		row := blob{digest: k.Digest}
		if k.Name != "" {
			row.names = []string{k.Name}
		}
		kernels.rows = append(kernels.rows, row)
	}
	return []blobKind{images, kernels}
}

// blobLeaks compares the rows of images and kernels with the data directory.
func blobLeaks(d dirs.Dirs, r Rows) ([]model.Leak, error) {
	var leaks []model.Leak
	for _, k := range blobKinds(d, r) {
		known, named := map[string]bool{}, map[string]model.Digest{}
		for _, row := range k.rows {
			known[row.digest.Hex()] = true
			if why := k.broken(row.digest); why != "" {
				leaks = append(leaks, model.Leak{Kind: "row", What: string(row.digest), Why: "is " + k.noun + " " + fmt.Sprint(row.names) + ", and " + why})
			}
			for _, name := range row.names {
				if other, taken := named[name]; taken {
					leaks = append(leaks, model.Leak{Kind: "name", What: name, Why: fmt.Sprintf("is of two %ss: %s and %s", k.noun, other.Short(), row.digest.Short())})
				}
				named[name] = row.digest
			}
		}
		entries, err := entriesOf(k.dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			path := filepath.Join(k.dir, e.Name())
			if !model.Digest("sha256:" + e.Name()).Valid() {
				continue // a draft, which buildLeaks looks at, or none of ours
			}
			if !known[e.Name()] && r.Alone {
				leaks = append(leaks, model.Leak{Kind: "directory", What: path, Why: "belongs to no " + k.noun})
			}
			found, err := temporaries(path)
			if err != nil {
				return nil, err
			}
			leaks = append(leaks, found...)
		}
	}
	return leaks, nil
}

// broken says what a blob lacks, by the sizes of its files; "" for nothing.
func (k blobKind) broken(d model.Digest) string {
	dir := filepath.Join(k.dir, d.Hex())
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		return "its manifest cannot be read: " + err.Error()
	}
	var manifest struct {
		Files map[string]struct {
			Bytes int64 `json:"bytes"`
		} `json:"files"`
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		return "its manifest is damaged: " + err.Error()
	}
	for _, name := range k.files {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			return "its " + name + " is missing"
		}
		if want := manifest.Files[name].Bytes; !info.Mode().IsRegular() || info.Size() != want {
			return fmt.Sprintf("its %s has %d bytes instead of %d", name, info.Size(), want)
		}
	}
	return ""
}
