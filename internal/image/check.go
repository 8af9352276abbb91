package image

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"banger/internal/image/ext4"
	"banger/internal/model"
)

// CheckOptions say how a Check looks, and what new VMs get.
type CheckOptions struct {
	Image, Kernel string            // "" for the image that there is when nothing is said
	Verify        bool              // read every byte of every image and kernel
	Progress      func(line string) // hears which one is being read
}

// Check says whether the images and kernels are as they should be, and whether this host can make the default ones. It
// changes nothing, and works without a Catalog: then those count that would be adopted.
func (s *Service) Check(ctx context.Context, o CheckOptions) []model.Check {
	if o.Image == "" {
		o.Image = model.DefaultImage
		if s.catalog != nil {
			// A catalog that cannot be read is told of with the images.
			o.Image, _ = s.DefaultImage(ctx)
		}
	}
	images, names := s.checkKind(ctx, kindImage, o.Image, o)
	kernels, releases := s.checkKind(ctx, kindKernel, o.Kernel, o)
	checks := []model.Check{images, kernels}
	missing := o.Image == model.DefaultImage && !slices.Contains(names, o.Image)
	return append(append(checks, s.checkImageBuild(missing)...), s.checkKernelBuild(o.Kernel == model.DefaultKernel && !slices.Contains(releases, o.Kernel)))
}

// checkImageBuild looks at what the build of the default image needs. While that image is there, what is missing keeps no
// VM from running.
func (s *Service) checkImageBuild(needed bool) []model.Check {
	worst := model.CheckWarning
	if needed {
		worst = model.CheckProblem
	}
	_, err := debian{s.tools}.findBootstrap()
	if err == nil {
		err = ext4.CheckTools()
	}
	checks := []model.Check{model.CheckOf("image-build", err, "mmdebstrap and Debian's keys are there").AtMost(worst)}
	if s.tools.Owners == nil {
		return append(checks, model.Check{Name: "subordinate-ids", Status: model.CheckOK, Detail: "root needs none"})
	}
	return append(checks, model.CheckOf("subordinate-ids", s.tools.Owners(), fmt.Sprintf("at least %d are yours", subordinateIDs)).AtMost(worst))
}

func (s *Service) checkKernelBuild(needed bool) model.Check {
	c := model.CheckOf("kernel-build", debian{s.tools}.checkFetch(), "apt and Debian's keys are there")
	if needed {
		return c
	}
	return c.AtMost(model.CheckWarning)
}

// checkKind looks at all images or all kernels and returns their names. What is wrong with the one that new VMs get keeps
// them from running; what is wrong with others is a warning.
func (s *Service) checkKind(ctx context.Context, kind, wanted string, o CheckOptions) (model.Check, []string) {
	all, err := s.listed(ctx, kind)
	if err != nil {
		return model.CheckOf(kind, err, ""), nil
	}
	var names []string
	var broken []model.Check
	for _, b := range all {
		names = append(names, b.names...)
		if err := s.checkOne(ctx, kind, b, o); err != nil {
			c := model.CheckOf(kind, err, "")
			if !slices.Contains(b.names, wanted) || kind == kindKernel && wanted == model.DefaultKernel { // that is made again by itself
				c = c.AtMost(model.CheckWarning)
			}
			broken = append(broken, c)
		}
	}
	if len(broken) == 0 {
		return model.Check{Name: kind, Status: model.CheckOK, Detail: told(all, wanted, o.Verify)}, names
	}
	worst := broken[0]
	for _, c := range broken {
		if c.Status == model.CheckProblem {
			worst = c
			break
		}
	}
	if more := len(broken) - 1; more > 0 {
		worst.Detail += fmt.Sprintf(" (and %d more)", more)
	}
	return worst, names
}

func told(all []listed, wanted string, verified bool) string {
	if len(all) == 0 {
		return fmt.Sprintf("there is none yet; the first VM gets %s", wanted)
	}
	how := "their sizes are right; --verify reads them whole"
	if verified {
		how = "every byte is what it was"
	}
	return fmt.Sprintf("%d, %s", len(all), how)
}

// listed is an image or a kernel that has a row, or would be given one.
type listed struct {
	digest model.Digest
	names  []string
	row    bool
}

func (s *Service) listed(ctx context.Context, kind string) ([]listed, error) {
	rows, err := s.rows(ctx, kind)
	if err != nil {
		return nil, err
	}
	var all []listed
	for d, name := range rows {
		all = append(all, listed{digest: d, names: []string{name}, row: true})
	}
	if kind == kindImage && s.catalog != nil {
		images, err := s.catalog.Images(ctx)
		if err != nil {
			return nil, err
		}
		all = all[:0]
		for _, i := range images {
			all = append(all, listed{digest: i.Digest, names: i.Tags, row: true})
		}
	}
	found, err := s.adoptable(ctx, kind)
	for _, m := range found {
		all = append(all, listed{digest: m.digest(), names: []string{m.name()}})
	}
	slices.SortFunc(all, func(a, b listed) int { return strings.Compare(string(a.digest), string(b.digest)) })
	return all, err
}

func (s *Service) checkOne(ctx context.Context, kind string, b listed, o CheckOptions) error {
	var err error
	if o.Verify {
		o.Progress(fmt.Sprintf("reading %s, of the %s", b.label(), kind))
		err = s.compareContent(ctx, kind, b.digest)
	} else {
		err = s.checkBlob(kind, b.digest)
	}
	if b.row {
		return s.advise(ctx, kind, b.digest, err)
	}
	return err
}

func (b listed) label() string {
	if len(b.names) > 0 && b.names[0] != "" {
		return b.names[0]
	}
	return b.digest.Short()
}
