package progress

import (
	"fmt"
	"io"
	"math"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/pgdrover/pgdrover/sync/mirror"
)

// mostBars is how many tables have a bar at a time: more do not fit a screen.
const mostBars = 16

// dataBars draws a bar for each table that is being copied, one for all of them
// below, and under it a line that tells what the task does.
type dataBars struct {
	pool   *mpb.Progress
	out    io.Writer
	line   atomic.Value // string: what the task does
	status *mpb.Bar
	total  *mpb.Bar
	copies map[copyKey]*mpb.Bar
	news   news
}

func (b *dataBars) task(t mirror.Task) {
	b.line.Store(Line(t))
	if b.status == nil {
		b.copies, b.news = map[copyKey]*mpb.Bar{}, news{}
		text := func(decor.Statistics) string { return b.line.Load().(string) }
		b.status = b.pool.New(1, mpb.NopStyle(), mpb.BarPriority(math.MaxInt), mpb.PrependDecorators(decor.Any(text)))
	}
	if t.TotalBytes > 0 && b.total == nil && !Streams(t) {
		b.total = b.bar("total ", t.Bytes, t.TotalBytes, math.MaxInt-1)
	}
	if b.total == nil {
		return
	}
	if Streams(t) { // the rows are there: their bar would stand still from here on
		b.total.Abort(true)
		b.total = nil
		return
	}
	set(b.total, t.Bytes, t.TotalBytes)
}

func (b *dataBars) bar(name string, current, total int64, priority int) *mpb.Bar {
	begin := time.Now()
	counts := func(s decor.Statistics) string { return Bytes(s.Current) + " / " + Bytes(s.Total) }
	rate := func(s decor.Statistics) string {
		return Bytes(int64(float64(s.Current-current)/max(time.Since(begin).Seconds(), 0.1))) + "/s"
	}
	bar := b.pool.New(total+1, mpb.BarStyle(), mpb.BarPriority(priority),
		mpb.PrependDecorators(decor.Name(name, decor.WCSyncSpaceR), decor.Any(counts, decor.WCSyncSpace)),
		mpb.AppendDecorators(decor.Percentage(decor.WCSyncSpace), decor.Name("  "), decor.Any(rate, decor.WCSyncSpace),
			decor.Name("  "), decor.AverageETA(decor.ET_STYLE_GO, decor.WCSyncSpace)))
	set(bar, current, total)
	return bar
}

// set moves a bar. It is never complete before its copy is, for the total is an
// estimate: a bar that is complete cannot be set back.
func set(bar *mpb.Bar, current, total int64) {
	bar.SetTotal(max(total, current)+1, false)
	bar.SetCurrent(current)
}

func (b *dataBars) tables(copies []mirror.TableCopyRow) {
	if b.status == nil {
		return
	}
	for _, c := range copies {
		key := keyOf(c)
		bar := b.copies[key]
		switch {
		case c.Status == "running" && bar != nil:
			set(bar, c.Bytes, c.TotalBytes)
		case c.Status == "running" && len(b.copies) < mostBars:
			b.copies[key] = b.bar(fmt.Sprintf("%s, shard %d ", tableName(c), c.Shard), c.Bytes, c.TotalBytes, len(b.copies))
		case c.Status != "running" && bar != nil:
			bar.Abort(true)
			delete(b.copies, key)
		}
		if b.news.ended(c) {
			if line := copyLine(c); line != "" {
				_, _ = fmt.Fprintln(b.pool, line) // above the bars
			}
		}
	}
}

func (b *dataBars) end(t mirror.Task) {
	for _, bar := range b.copies {
		bar.Abort(true)
	}
	for _, bar := range []*mpb.Bar{b.total, b.status} {
		if bar != nil {
			bar.Abort(true)
		}
	}
	b.pool.Wait()
	fmt.Fprintln(b.out, summary(t))
}
