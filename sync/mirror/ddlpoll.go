package mirror

import (
	"context"
	"sync"
	"time"

	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/ddl"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// schemaPoll is what one poll has read, and what a later one has to remember of
// it.
type schemaPoll struct {
	reading *ddl.Reading
	memory  ddl.Memory
}

// schemaPolls reads the source's catalogs. A poll is either taken where the
// stream arrives at its fence, or at once for rows that cannot wait.
type schemaPolls struct {
	f      *schemaFollower
	poller *ddl.Poller

	mu      sync.Mutex // held while a poll is made
	waiting map[stream.LSN]*schemaPoll
	last    time.Time
}

func newSchemaPolls(f *schemaFollower) *schemaPolls {
	return &schemaPolls{
		f: f, poller: ddl.NewPoller([]string{f.source.job.req.Publication}, f.memory), waiting: map[stream.LSN]*schemaPoll{},
	}
}

// poll reads what has changed since the last poll.
func (p *schemaPolls) poll(ctx context.Context) (*schemaPoll, error) {
	conn, err := connect.Open(ctx, p.f.source.server, "schema")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	p.last = time.Now()
	reading, err := p.poller.Poll(ctx, conn)
	if err != nil {
		return nil, err
	}
	installed, err := ddl.Installed(ctx, conn)
	if err != nil {
		return nil, err
	}
	p.f.exact.Store(installed.Installed && installed.Current)
	return &schemaPoll{reading, p.poller.Memory()}, nil
}

// ahead makes a poll that is taken at its fence.
func (p *schemaPolls) ahead(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	poll, err := p.poll(ctx)
	if err == nil {
		p.waiting[poll.reading.Fence] = poll
	}
	return err
}

// at gives the poll that has written a fence, nil if it was somebody else.
func (p *schemaPolls) at(_ context.Context, fence stream.LSN) (*schemaPoll, error) {
	if p == nil {
		return nil, nil
	}
	p.mu.Lock() // a poll that is being made may be the one
	defer p.mu.Unlock()
	poll := p.waiting[fence]
	delete(p.waiting, fence)
	return poll, nil
}

// now makes a poll that is taken before the stream is at its fence. It has
// everything since the last poll that was taken: those that wait are forgotten.
func (p *schemaPolls) now(ctx context.Context) (*schemaPoll, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.waiting)
	p.poller = ddl.NewPoller([]string{p.f.source.job.req.Publication}, p.f.memory)
	return p.poll(ctx)
}
