package apply

import "strconv"

// prepared are the prepared statements of one session. Their names are never
// used twice, so that a Parse which the server skipped behind an error cannot
// be taken for one that it did.
type prepared struct {
	targets  map[*Target]map[statementKey]string
	byTable  map[uint32]*Target // by OID of the source relation: the one whose statements are kept
	count    int
	serial   int
	leftOver []string // to be closed
}

// mostPrepared bounds what a session holds; a backend keeps some 20 kB for each.
const mostPrepared = 1000

func newPrepared() *prepared {
	return &prepared{targets: map[*Target]map[statementKey]string{}, byTable: map[uint32]*Target{}}
}

// statement gives the name of a statement of t, preparing it by s if it is new.
func (p *prepared) statement(s *script, t *Target, key statementKey, sql func() string) string {
	byKey := p.targets[t]
	if byKey == nil {
		if before := p.byTable[t.Source.OID]; before != nil {
			p.drop(before) // the relation has another shape now
		}
		byKey = map[statementKey]string{}
		p.targets[t], p.byTable[t.Source.OID] = byKey, t
	}
	name, ok := byKey[key]
	if !ok {
		p.serial++
		name = "pgdrover_" + strconv.Itoa(p.serial)
		byKey[key] = name
		p.count++
		s.parse(name, sql())
	}
	return name
}

func (p *prepared) drop(t *Target) {
	for _, name := range p.targets[t] {
		p.leftOver = append(p.leftOver, name)
	}
	p.count -= len(p.targets[t])
	delete(p.targets, t)
}

// forget drops all: after an error it is not known which of them exist.
func (p *prepared) forget() {
	for t := range p.targets {
		p.drop(t)
	}
	clear(p.byTable)
}

// tidy closes what is not used any more, before a script is built.
func (p *prepared) tidy(s *script) {
	if p.count > mostPrepared {
		p.forget()
	}
	for _, name := range p.leftOver {
		s.closeStatement(name)
	}
	p.leftOver = p.leftOver[:0]
}
