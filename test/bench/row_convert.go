package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sync/errgroup"

	"banger/internal/image/ext4"
	"banger/internal/image/layers"
	"banger/internal/model"
)

const (
	convertPairs   = 5              // of a number of layers: each takes seconds
	convertAllowed = 0.8            // of the speed of the slowest stage
	convertRoot    = 10 * model.GiB // sparse
	convertRoom    = 8 << 30        // for the archives and two file systems
)

// benchConvert measures the import of an image's archive against the slowest of its stages run alone.
func benchConvert(ctx context.Context, s *session) ([]result, error) {
	dir, err := s.memoryDir(convertRoom)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a directory of the bench's own, gone at its end
	files := filepath.Join(dir, "usr.tar")
	if err := imageTar(ctx, s.host, files); err != nil {
		return nil, err
	}
	m, err := s.imageHome(ctx, filepath.Join(dir, "home"))
	if err != nil {
		return nil, err
	}
	defer m.close()
	var results []result
	// A slim image, a full one, and a slim one of several layers.
	for _, kind := range []struct {
		bytes  int64
		layers int
	}{{200_000_000, 1}, {800_000_000, 1}, {200_000_000, 4}} {
		r, err := benchLayers(ctx, s, m, files, kind.bytes, kind.layers)
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	return results, nil
}

func benchLayers(ctx context.Context, s *session, m *home, files string, bytes int64, count int) (result, error) {
	c, err := newConversion(ctx, m, files, bytes, count)
	if err != nil {
		return result{}, err
	}
	defer os.RemoveAll(c.dir) //nolint:errcheck // likewise
	var pairs []pair
	took := make([][]time.Duration, len(convertStages))
	var wholes, atOnce []time.Duration
	for i := range min(convertPairs, s.pairs) {
		var slowest, whole time.Duration
		err := inTurn(i,
			func() error {
				for n, stage := range convertStages {
					d, err := stage.run(c, ctx)
					if err != nil {
						return fmt.Errorf("%s: %w", stage.name, err)
					}
					took[n] = append(took[n], d)
					slowest = max(slowest, d)
				}
				if count == 1 {
					return nil
				}
				d, err := c.gunzipAtOnce(ctx)
				atOnce = append(atOnce, d)
				return err
			},
			func() (err error) { whole, err = c.whole(ctx); return })
		if err != nil {
			return result{}, err
		}
		wholes = append(wholes, whole)
		pairs = append(pairs, pair{slowest, whole, time.Duration(float64(slowest) / convertAllowed)})
	}
	what := fmt.Sprintf("`image import`, %.0f MB in %d gzip layer", float64(c.bytes)/1e6, count)
	if count > 1 {
		what += "s"
	}
	r := paired(what, "its slowest stage alone", "floor / 0.8", pairs)
	r.notes = []string{"All files are in memory, where the host has room for them. Medians:", ""}
	for n, stage := range convertStages {
		r.notes = append(r.notes, fmt.Sprintf("- %s: %s", stage.name, milliseconds(median(took[n]))))
	}
	if count > 1 {
		r.notes = append(r.notes, fmt.Sprintf("- gunzip of as many layers at a time as there are processors, as the import does it: %s", milliseconds(median(atOnce))))
	}
	r.notes = append(r.notes, fmt.Sprintf("- `banger image import`: %s, %.0f MB/s of layers, uncompressed", milliseconds(median(wholes)), float64(c.bytes)/median(wholes).Seconds()/1e6))
	return r, nil
}

// convertStages are what an import does, each by the same code as there and from files that are in memory.
var convertStages = []struct {
	name string
	run  func(*conversion, context.Context) (time.Duration, error)
}{
	{"gunzip, one layer after the other", (*conversion).gunzip},
	{"merging plain layers to one tar", (*conversion).merge},
	{"a file system from that tar, its digest begun behind it", (*conversion).write},
	{"its finishing by e2fsprogs, and its digest", (*conversion).finish},
	{"making it durable", (*conversion).sync},
}

// conversion is one archive, and what each of the stages starts from.
type conversion struct {
	m      *home
	dir    string
	bytes  int64
	plain  []string // the layers
	packed []string // the same, compressed
	merged string   // what they are together
	made   ext4.Written
}

func newConversion(ctx context.Context, m *home, files string, bytes int64, count int) (*conversion, error) {
	c := &conversion{m: m, dir: filepath.Join(filepath.Dir(files), fmt.Sprint("layers-", count))}
	if err := os.Mkdir(c.dir, 0o700); err != nil {
		return nil, err
	}
	var err error
	if c.plain, c.bytes, err = cut(files, bytes, count, c.dir); err != nil {
		return nil, err
	}
	image, err := imageOf(c.plain)
	if err != nil {
		return nil, err
	}
	if c.packed, err = writeLayout(c.layout(), image); err != nil {
		return nil, err
	}
	c.merged = filepath.Join(c.dir, "merged.tar")
	out, err := os.Create(c.merged)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	return c, c.flatten(ctx, out)
}

func (c *conversion) layout() string { return filepath.Join(c.dir, "layout") }

func (c *conversion) gunzip(ctx context.Context) (time.Duration, error) { return c.unpack(ctx, 1) }

func (c *conversion) gunzipAtOnce(ctx context.Context) (time.Duration, error) {
	return c.unpack(ctx, runtime.GOMAXPROCS(0))
}

func (c *conversion) unpack(ctx context.Context, atOnce int) (time.Duration, error) {
	begun := time.Now()
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.SetLimit(atOnce)
	for _, name := range c.packed {
		tasks.Go(func() error {
			file, err := os.Open(name)
			if err != nil {
				return err
			}
			defer file.Close()
			plain, err := gzip.NewReader(file)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, plain)
			return firstError(err, ctx.Err())
		})
	}
	err := tasks.Wait()
	return time.Since(begun), err
}

func (c *conversion) merge(ctx context.Context) (time.Duration, error) {
	begun := time.Now()
	err := c.flatten(ctx, io.Discard)
	return time.Since(begun), err
}

func (c *conversion) flatten(ctx context.Context, out io.Writer) error {
	var ls []layers.Layer
	for _, name := range c.plain {
		ls = append(ls, layers.Layer{Open: func(context.Context) (io.ReadCloser, error) { return os.Open(name) }})
	}
	o := layers.Options{Limits: layers.DefaultLimits(), Scratch: c.dir}
	_, err := layers.Flatten(ctx, out, ls, o)
	return err
}

func (c *conversion) root() string { return filepath.Join(c.dir, "root.ext4") }

// write leaves the file system for finish, and that for sync.
func (c *conversion) write(ctx context.Context) (time.Duration, error) {
	if err := os.RemoveAll(c.root()); err != nil {
		return 0, err
	}
	in, err := os.Open(c.merged)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	begun := time.Now()
	c.made, err = ext4.Write(ctx, c.root(), in)
	return time.Since(begun), err
}

func (c *conversion) finish(ctx context.Context) (time.Duration, error) {
	begun := time.Now()
	_, err := c.made.Finish(ctx, c.root(), convertRoot)
	return time.Since(begun), err
}

func (c *conversion) sync(context.Context) (time.Duration, error) {
	file, err := os.OpenFile(c.root(), os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	begun := time.Now()
	err = file.Sync()
	return time.Since(begun), err
}

// whole imports the archive, and takes the image away again.
func (c *conversion) whole(ctx context.Context) (time.Duration, error) {
	begun := time.Now()
	out, err := c.m.banger(ctx, "image", "import", "--quiet", "--name", "converted", c.layout())
	took := time.Since(begun)
	if err != nil {
		return 0, err
	}
	if !strings.Contains(out, "converted") {
		return 0, fmt.Errorf("banger image import said %q", out)
	}
	_, err = c.m.banger(ctx, "image", "delete", "converted")
	return took, err
}
