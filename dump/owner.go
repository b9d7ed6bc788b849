package dump

// OwnerSQL gives the ALTER ... OWNER TO statement, without a semicolon, that
// pg_restore would run after the entry's definition; false if the object has no
// owner of its own. What has no DROP statement is not separately owned.
//
// The rules are those of _printTocEntry and _getObjectDescription in
// pg_backup_archiver.c.
func (e Entry) OwnerSQL() (string, bool) {
	if e.Owner == "" || e.Drop == "" {
		return "", false
	}
	var object string
	switch e.Kind {
	case KindCollation, KindConversion, KindDomain, KindForeignTable, KindMaterializedView,
		KindSequence, KindStatistics, KindTable, KindTextSearchDictionary,
		KindTextSearchConfiguration, KindType, KindView:
		object = string(e.Kind) + " " + e.qualifiedName()
	case KindDatabase, KindProceduralLanguage, KindSchema, KindEventTrigger,
		KindForeignDataWrapper, KindServer, KindPublication, KindSubscription:
		object = string(e.Kind) + " " + e.qualifiedName()
	case KindBlob:
		object = "LARGE OBJECT " + e.Tag
	case KindAggregate, KindFunction, KindOperator, KindOperatorClass, KindOperatorFamily, KindProcedure:
		object = e.dropped() // the tag lacks the arguments
	}
	if object == "" {
		return "", false
	}
	return "ALTER " + object + " OWNER TO " + QuoteIdent(e.Owner), true
}

// AccessMethodSQL gives the statement that a partitioned table's access method
// needs after its definition, which cannot name it; false for every other
// entry. Formats before 1.16 do not record it.
func (e Entry) AccessMethodSQL() (string, bool) {
	const partitionedTable = 'p'
	if e.Kind != KindTable || e.Relkind != partitionedTable || e.AccessMethod == "" {
		return "", false
	}
	return "ALTER TABLE " + e.qualifiedName() + " SET ACCESS METHOD " + QuoteIdent(e.AccessMethod), true
}

func (e Entry) qualifiedName() string {
	if e.Namespace == "" {
		return QuoteIdent(e.Tag)
	}
	return QuoteIdent(e.Namespace) + "." + QuoteIdent(e.Tag)
}
