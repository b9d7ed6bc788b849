package main

import (
	"context"
	"slices"

	"github.com/pgdrover/pgdrover/admin"
	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
)

// mirrorCreateCommand is the twin of CREATE MIRROR ... NO START.
type mirrorCreateCommand struct {
	mirrorTarget
	driftFlags
	FromDatabase string   `required:"" placeholder:"NAME" help:"Source, a name in [[databases]]."`
	ToDatabase   string   `required:"" placeholder:"NAME" help:"Destination, a name in [[databases]]."`
	Publication  string   `required:"" placeholder:"NAME" help:"Publication on the source."`
	Set          []string `sep:"none" placeholder:"SETTING" help:"Settings as WITH of CREATE MIRROR has them: 'workers = 4', 'TABLE public.a AS sales.b (EXCLUDE (note))'. May be given several times."`
}

// Run is kong's.
func (m mirrorCreateCommand) Run(c *cli, io *streams, ctx *contextOf) error {
	settings, err := m.settings(io, admin.ParseMirrorSettings, slices.Concat(m.Set, m.list()))
	if err != nil {
		return err
	}
	return m.work(c, io, ctx, func(ctx context.Context, engine mirrorEngine, cfg *config.Config) error {
		return m.create(ctx, engine, cfg, settings, io)
	})
}

func (m mirrorCreateCommand) create(ctx context.Context, engine mirrorEngine, cfg *config.Config, settings admin.MirrorSettings, io *streams) error {
	definition := config.NewMirror(m.FromDatabase, m.ToDatabase, m.Publication)
	definition.Name = m.Mirror
	if err := settings.Apply(cfg, &definition); err != nil {
		return err
	}
	if err := engine.CreateMirror(ctx, definition); err != nil {
		return err
	}
	return m.done(io, "created", "is created; pgdrover mirror resume, or in the admin database RESUME MIRROR "+dump.QuoteIdent(m.Mirror)+"; starts it")
}
