package image

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"banger/internal/image/layers"
	"banger/internal/image/registry"
	"banger/internal/model"
)

// Catalog keeps the rows of images and kernels.
type Catalog interface {
	Images(ctx context.Context) ([]model.Image, error)
	// InsertImage adds an image, or describes the one of its digest anew, and gives it its names. They are taken from
	// whichever images had them, which go on without.
	InsertImage(ctx context.Context, i model.Image) error
	// NameImage gives an image one more name, taken from whichever had it.
	NameImage(ctx context.Context, name string, d model.Digest) error
	UnnameImage(ctx context.Context, name string) error
	// DeleteImage removes an image's row: ErrState when a VM uses it, ErrNotFound when there is none.
	DeleteImage(ctx context.Context, d model.Digest) error
	// UsedImages are those that a VM uses.
	UsedImages(ctx context.Context) (map[model.Digest]bool, error)
	// DefaultImage is the name that SetDefaultImage has recorded, or "".
	DefaultImage(ctx context.Context) (string, error)
	SetDefaultImage(ctx context.Context, name string) error

	Kernels(ctx context.Context) ([]model.Kernel, error)
	InsertKernel(ctx context.Context, k model.Kernel) error
	DeleteKernel(ctx context.Context, d model.Digest) error
}

// Dirs are where files go. They are made with mode 0700 when they are missing.
type Dirs struct {
	Data  string // images/<hex>, kernels/<hex> and locks
	Cache string // downloads while they are needed, layers/<hex>, initrd/<hex>.cpio
}

// Service makes, finds and removes images and kernels. It is safe for concurrent use, also by several processes over the
// same directories.
type Service struct {
	dirs    Dirs
	catalog Catalog
	owner   string
	agent   string
	log     *slog.Logger
	limits  layers.Limits
	tools   Tools
	// Tests put others in place of what follows.
	recipe    recipe
	keychain  authn.Keychain
	certDirs  []string
	wait      time.Duration // before a registry is asked a second time
	rootBytes int64         // the least size of a root

	mu          sync.Mutex
	agentKnown  fileIdentity // the agent whose digest agentDigest is
	agentDigest model.Digest
}

// Options are what a Service is made of.
type Options struct {
	Dirs    Dirs
	Catalog Catalog
	Owner   string        // names whose rows these are, among several installations over the same directories
	Agent   string        // path of the banger-agent binary, which becomes the /init of every initramfs
	Limits  layers.Limits // on what is imported and pulled
	Tools   Tools         // that the default image and kernel are made with
	Log     *slog.Logger
}

// New returns a Service. Images are pulled in the name that docker's configuration gives us, and from whom it trusts.
func New(o Options) *Service {
	return &Service{
		dirs: o.Dirs, catalog: o.Catalog, owner: o.Owner, agent: o.Agent, log: o.Log, limits: o.Limits, tools: o.Tools,
		recipe: debian{o.Tools}, keychain: authn.DefaultKeychain, certDirs: registry.CertDirs(), wait: 500 * time.Millisecond, rootBytes: rootBytes,
	}
}

// recipe makes the content of an image or a kernel in an empty directory. It is a seam for the tests of all that
// surrounds it.
type recipe interface {
	image(ctx context.Context, dir string, work scratch, report model.Report) (fresh, error)
	kernel(ctx context.Context, dir string, work scratch, report model.Report) (model.Kernel, error)
}

// The kinds of blob, which are also the names of their directories.
const (
	kindImage  = "images"
	kindKernel = "kernels"
)

// The files of a blob.
const (
	rootFile    = "root.ext4"
	vmlinuxFile = "vmlinux"
	modulesFile = "modules.ext4"
	earlyFile   = "early.cpio" // the initramfs but for the agent
)

func (s *Service) blobDir(kind string, d model.Digest) string {
	return filepath.Join(s.dirs.Data, kind, d.Hex())
}

// ImageFile returns the path of an image's ext4 file. It is opened read-only by everyone.
func (s *Service) ImageFile(d model.Digest) string {
	return filepath.Join(s.blobDir(kindImage, d), rootFile)
}

// KernelFiles returns the paths of a kernel's vmlinux and of the ext4 file with its modules, both read-only.
func (s *Service) KernelFiles(d model.Digest) (vmlinux, modules string) {
	dir := s.blobDir(kindKernel, d)
	return filepath.Join(dir, vmlinuxFile), filepath.Join(dir, modulesFile)
}
