// Package refname says what an image's name means: a plain word is one of this host's, all else is an OCI reference.
package refname

import (
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"banger/internal/model"
)

// maxLength is far above the names that registries take and keeps rows and messages short.
const maxLength = 512

// Name is an image's name in its one spelling.
type Name struct {
	text  string
	plain bool
	ref   name.Reference // of what Pull would ask for
}

// Parse checks a name that a user wrote: a plain word such as "debian", which stays as it is, or an OCI reference such as
// "python:3.13", "localhost:5000/a/b" or "a/b@sha256:…", which gets the tag that it leaves out.
func Parse(text string) (Name, error) {
	if len(text) > maxLength {
		return Name{}, model.Errorf(model.ErrInvalid, "an image name of %d characters is too long: at most %d are possible", len(text), maxLength)
	}
	if strings.Contains(text, "://") {
		return Name{}, model.Errorf(model.ErrInvalid, "%q cannot be an image name: leave out what stands before the host; --insecure allows plain HTTP", text)
	}
	ref, err := name.ParseReference(text, name.WeakValidation)
	if err != nil || !repositoryFits(ref.Context()) {
		return Name{}, model.Errorf(model.ErrInvalid, "%q cannot be an image name: write a word such as debian, or a reference such as python:3.13 or localhost:5000/a/b:tag, in lower case", text)
	}
	if model.ValidateName("image", text) == nil {
		return Name{text: text, plain: true, ref: ref}, nil
	}
	return Name{text: familiar(ref), ref: ref}, nil
}

// ParseReference is Parse for what is to be pulled: a plain word means that repository's newest tag, too.
func ParseReference(text string) (Name, error) {
	n, err := Parse(text)
	if n.plain {
		n = Name{text: familiar(n.ref), ref: n.ref}
	}
	return n, err
}

// String is the name as it is stored and shown.
func (n Name) String() string { return n.text }

// Plain says whether it is a word of this host's rather than a reference.
func (n Name) Plain() bool { return n.plain }

// Repository is the registry and the repository of the reference, in the spelling of String.
func (n Name) Repository() string { return short(n.ref.Context()) }

// Digest is what the reference is pinned to, or "".
func (n Name) Digest() model.Digest {
	if d, ok := n.ref.(name.Digest); ok {
		return model.Digest(d.DigestStr())
	}
	return ""
}

// Reference returns it as the registry's client wants it. With insecure, plain HTTP is allowed.
func (n Name) Reference(insecure bool) (name.Reference, error) {
	options := []name.Option{name.WeakValidation}
	if insecure {
		options = append(options, name.Insecure)
	}
	return name.ParseReference(n.ref.Name(), options...)
}

// Fits says whether text is a name in its one spelling.
func Fits(text string) bool {
	n, err := Parse(text)
	return err == nil && n.text == text
}

// familiar leaves out the default registry and its namespace, as docker does.
func familiar(ref name.Reference) string {
	if d, ok := ref.(name.Digest); ok {
		return short(ref.Context()) + "@" + d.DigestStr()
	}
	return short(ref.Context()) + ":" + ref.Identifier()
}

func short(r name.Repository) string {
	if r.RegistryStr() != name.DefaultRegistry {
		return r.RegistryStr() + "/" + r.RepositoryStr()
	}
	return strings.TrimPrefix(r.RepositoryStr(), "library/")
}

// repositoryFits refuses what the library takes and no registry does: empty parts, and parts that would be a path's steps.
func repositoryFits(r name.Repository) bool {
	for part := range strings.SplitSeq(r.RepositoryStr(), "/") {
		if strings.Trim(part, "._-") != part || part == "" {
			return false
		}
	}
	return strings.Trim(r.RegistryStr(), ".-_") == r.RegistryStr()
}
