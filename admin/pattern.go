package admin

import (
	"fmt"
	"strings"
)

// A pattern is the Syntax string of a command, compiled:
//
//	WORD        a keyword, in any case; or a symbol such as = or (
//	<name>      an argument, described in arguments.go
//	{a | b}     one of the alternatives
//	[a]         may be left out; neighbouring ones may come in any order
//	...         whatever follows
//
// Patterns are matched with backtracking. Every place where a token did not fit
// is noted, so that the error is about the place that was reached farthest.
type pattern []node

// node is one part of a pattern.
type node interface{ isNode() }

type (
	keywordNode  struct{ word string }
	argumentNode struct{ argument *argument }
	choiceNode   struct{ alternatives []pattern }
	optionsNode  struct{ options []option }
	restNode     struct{}
)

// option is what stands between brackets, and the text to know it by.
type option struct {
	name string
	pattern
}

func (keywordNode) isNode()  {}
func (argumentNode) isNode() {}
func (choiceNode) isNode()   {}
func (optionsNode) isNode()  {}
func (restNode) isNode()     {}

// compilePattern reads a Syntax string. Errors are mistakes in the table of
// commands.
func compilePattern(syntax string) (pattern, error) {
	c := &patternCompiler{words: patternWords(syntax)}
	p, err := c.sequence()
	if err == nil && len(c.words) > 0 {
		err = fmt.Errorf("unexpected %q", c.words[0])
	}
	if err != nil {
		return nil, fmt.Errorf("compile syntax %q: %w", syntax, err)
	}
	return p, nil
}

// patternWords cuts a Syntax string at blanks and around brackets.
func patternWords(syntax string) []string {
	for _, bracket := range []string{"{", "}", "[", "]", "|", "(", ")"} {
		syntax = strings.ReplaceAll(syntax, bracket, " "+bracket+" ")
	}
	return strings.Fields(syntax)
}

type patternCompiler struct{ words []string }

// sequence reads up to a closing bracket, a bar or the end.
func (c *patternCompiler) sequence() (pattern, error) {
	var p pattern
	for len(c.words) > 0 && !strings.Contains("}]|", c.words[0]) {
		word := c.words[0]
		c.words = c.words[1:]
		n, err := c.node(word)
		if err != nil {
			return nil, err
		}
		p = appendNode(p, n)
	}
	return p, nil
}

// node reads what word begins.
func (c *patternCompiler) node(word string) (node, error) {
	switch {
	case word == "{":
		alternatives, err := c.alternatives("}")
		return choiceNode{alternatives}, err
	case word == "[":
		begin := c.words
		inside, err := c.alternatives("]")
		if err != nil {
			return nil, err
		}
		name := strings.Join(begin[:len(begin)-len(c.words)-1], " ")
		if len(inside) == 1 {
			return optionsNode{[]option{{name, inside[0]}}}, nil
		}
		return optionsNode{[]option{{name, pattern{choiceNode{inside}}}}}, nil
	case word == "...":
		return restNode{}, nil
	case strings.HasPrefix(word, "<") && strings.HasSuffix(word, ">"):
		a, known := argumentNamed(word[1 : len(word)-1])
		if !known {
			return nil, fmt.Errorf("argument %s is not described", word)
		}
		return argumentNode{a}, nil
	}
	return keywordNode{word}, nil
}

// alternatives reads "a | b" and the closing bracket.
func (c *patternCompiler) alternatives(closing string) ([]pattern, error) {
	var all []pattern
	for {
		p, err := c.sequence()
		if err != nil {
			return nil, err
		}
		if len(p) == 0 {
			return nil, fmt.Errorf("empty alternative before %q", closing)
		}
		all = append(all, p)
		if len(c.words) == 0 {
			return nil, fmt.Errorf("missing %q", closing)
		}
		word := c.words[0]
		c.words = c.words[1:]
		if word == closing {
			return all, nil
		}
		if word != "|" {
			return nil, fmt.Errorf("unexpected %q", word)
		}
	}
}

// appendNode joins neighbouring options into one group, whose order is free.
func appendNode(p pattern, n node) pattern {
	added, isOptions := n.(optionsNode)
	if isOptions && len(p) > 0 {
		if last, ok := p[len(p)-1].(optionsNode); ok {
			last.options = append(last.options, added.options...)
			p[len(p)-1] = last
			return p
		}
	}
	return append(p, n)
}

// leadingWords gives the keywords that p begins with: a command's name.
func (p pattern) leadingWords() []string {
	var words []string
	for _, n := range p {
		k, ok := n.(keywordNode)
		if !ok {
			break
		}
		words = append(words, k.word)
	}
	return words
}

// arguments gives every argument of p, in order, each once.
func (p pattern) arguments() []*argument {
	var all []*argument
	for _, n := range p {
		switch n := n.(type) {
		case argumentNode:
			all = append(all, n.argument)
		case choiceNode:
			for _, alternative := range n.alternatives {
				all = append(all, alternative.arguments()...)
			}
		case optionsNode:
			for _, o := range n.options {
				all = append(all, o.arguments()...)
			}
		}
	}
	return all
}
