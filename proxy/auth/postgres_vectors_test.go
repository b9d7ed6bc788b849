package auth

import "testing"

// postgresVerifiers are what PostgreSQL 15 made of these passwords (CREATE ROLE
// … PASSWORD, then pg_authid.rolpassword): plain ASCII, and what SASLprep
// maps, composes, drops or refuses.
var postgresVerifiers = []struct{ password, verifier string }{
	{"pencil", "SCRAM-SHA-256$4096:5diHfmVaQgrG+5neG6O/hg==$o7oHBMWV0MxtG1ZO5kMBZl7ckl7gicR5RmNdQ31xeH8=:nhyGoqVWuEZVu5R1nSVaBfwQNs4yR23AkPn5c9HkHpc="},
	{" sp ace ", "SCRAM-SHA-256$4096:BtZquwjURnvYsEAyBgQXvg==$yYgl85Yi9MuIXBpdac18USqkioOp7xBasxSr9+98Y0s=:BP+Hp+3zWAEPtEnfaaV4nYvQAi7XS16zDu5rMHwt7Ik="},
	{"I\u00ADX", "SCRAM-SHA-256$4096:KWAHkvMOhG9fd8h3rhgWjw==$nwUcMU2Fbsk+eZ1ZkCR/KMaemPijiGQNZM5Hpu3B2JY=:e3uNMJ5ykZexxJriihD10DK8QaG2QV0/LHEXzKTDRG0="},
	{"user", "SCRAM-SHA-256$4096:6fxEJTw082jUA2lBVgW+AA==$0Pw72zJdduP0uoWDSohn70T2NjenqxS4Tb/2L49fvIw=:dgDxNne+hXMF0Dp/nILdtfpe3zHRcyDvnfV/Gm4x1Qo="},
	{"\u00AA", "SCRAM-SHA-256$4096:Ohzi1CdhUTg8Q2qMQOj8aw==$9mHJzgAFqGy5W00f56rO0hAgXQqSfpTuRmb9UOhWpA0=:l5hRTuNJ6Z29XIzvbh4P+p0NkZ27mjyQD/xZr1xnMzA="},
	{"\u2168", "SCRAM-SHA-256$4096:719ISEOe8o5amcyjjHRRCA==$vzewXtUAb8kem1Pw8gbaq99eqiiJdYPgE/4OLzx8fKc=:Ndc8hY7JYONve0i9vuoxbq43ELn7N+wVTYsz2NlbEAg="},
	{"\u0007bell", "SCRAM-SHA-256$4096:z5w//hmdHw79Km0C13IpYQ==$XJd4WSBkhB1mGUR51V65Z6Koy8RrxHHsFyV3Z5nDD2E=:DPDHfHxaM2+4BAkjb+fIWdPYZFitqitL7BzsQ5QVRWE="},
	{"pass\u00A0word", "SCRAM-SHA-256$4096:IIwPtTLsjRat1MueMKQjlg==$s2vtRpVLd9l5czb8lxJGX8v2FuhZOoIC8dHZ4KyHw1s=:ze8u5ut+Behzq42SZcpsm1umAb76ZyrSJ5I+wJwD1wQ="},
	{"\u200Bzero", "SCRAM-SHA-256$4096:l88ef0hiPZ32WD3zFUYBsg==$m4eZBupIfnFJP2nSYMXn/5KxPB678skqePrgIa8J+sY=:He9TDt6RBctbB9lq7QYfPBitCxYKqau2O9B1HHYjE7Q="},
	{"a\u0627", "SCRAM-SHA-256$4096:MeGPqDAdKfMCPnSDP85URQ==$LJ5oa+qr0iaw2KJF2yXScwayTqNvovl/kc8dmcqG28s=:KGcXUbvDuazI+cwoamhFZqc8BSdBXep08+n1bv/eaWc="},
	{"\u06271", "SCRAM-SHA-256$4096:oxoFEziXlqCO7sCPlJz3/w==$EJCzQ5IUBq5/a9wh/j8JHqwSeNwsZVZEAuSwpkv77Zo=:Pif9ImjBJiE05NPBIKJnfgwbNYW4sDB/pEemB+iylhs="},
	{"\u06271\u0627", "SCRAM-SHA-256$4096:u+uW7ek3oCUhTMCr4JHkFw==$lzyqmmmet3txTqnZHZBzCeCbjPmVClZaLrr0ZSnUcLA=:oXk2Cuzx/dV7y3hXtDV8KXBY0b/GsDTznug0l+dwc7g="},
	{"x\u0221y", "SCRAM-SHA-256$4096:KQ9bCP4x4pWprph/WJj+MQ==$WSnmOuvkV4ay+yFSupbK594jwCdKti4e7wZvnaWGesY=:+nsTiFvFXEMADwQ4ivg5ysmUhzYOu+hie/4ysFa9kOk="},
	{"\u00AD", "SCRAM-SHA-256$4096:Zn2/eZ98g+KpMyevbytEeA==$U5JMRIzu8EAHeA+GoLW9IE97EVE3slm6PLHvqIVWXs8=:9J1QH6/7QtdYVOQOUCEBGbZG6Pu2M4J+fVRoi6/CGOk="},
	{"f\u00FCr \uFB01n \u212B", "SCRAM-SHA-256$4096:LFwx8wGHitlowhnHGcxSEQ==$JMzEflCaa3Tvo51Gt04udDHeq1/mpovlf+xj6F5XumY=:kQ55P+F2oGLQ4tW/IKJcGIaJYyIMv9lJuH0wTPPBWeM="},
	{"\u1680og", "SCRAM-SHA-256$4096:P1bW747m2+ppFecszQRNpA==$Za/ix+7xb3hXQzGD6e8FiyidQR4ey+qysKCTNM35AQY=:2OKXdEbaWqafi6WCgQLdpge5gKQ8sl/yWtSrPEa1+7I="},
	{"e\u0301\u0327", "SCRAM-SHA-256$4096:DZzzVYncjJFuRUavvI0gnA==$TSmAhkK/GyVLvCc7ds5MoMLIznFVFY8iWA2s/DC4Gd0=:uacfeTpC6HXyHtURFka7FqX5WwcVwrnbO2zkYlbouyY="},
	{"tab\u0085nel", "SCRAM-SHA-256$4096:s9H6Lb8j9ANCV7t3tjT5EQ==$jTOKNjDMnzfFSUMPu/vi8OvFGvceYU6wSfts78WNKcw=:dV8DEb9qDRG7zkbBpq/REZHNeCbKUsVjmJbA1VMBoJI="},
	{"\U0001F600smile", "SCRAM-SHA-256$4096:0ZRqvf2ybo3BVQHeW+xM3A==$Iai0o8SlA9sxgWO4vgRDXNdYi3S2SsNxX6Pab80xda8=:5+yASTSS6QByRR2YJE9skVLDHVH0OjuKtTnfEpJgtJs="},
	{"\uFFFDrepl", "SCRAM-SHA-256$4096:dMeaj1SzVqbQ4zx56tffKA==$7VJAAiwtkXCnQH9vnS0uMD2rs2cNbBgdq4bx2yqeLLg=:JmHCDV0IhAVzPkg5MHV4sPMtRp78nisk8ZslQc3TmLA="},
	{"\u05D0\u05D1 \u05D2", "SCRAM-SHA-256$4096:0e4zYLlfvJH39MIOUitFVw==$YEIWCZEE5AaaF39WHAkp1irW+Md5BZH3NnVS7Sw0zx0=:v6SnaIURghc0yQDDBhcS6akmehS2pCR7Pd235qqH3cQ="},
}

func TestVerifiersArePostgres(t *testing.T) {
	t.Parallel()
	for _, test := range postgresVerifiers {
		want, err := ParseVerifier(test.verifier)
		if err != nil {
			t.Errorf("%+q: %v", test.password, err)
			continue
		}
		if got := want.Text(); got != test.verifier {
			t.Errorf("%+q: Text gives %s, want %s", test.password, got, test.verifier)
		}
		got, err := BuildVerifier(test.password, want.Salt, want.Iterations)
		if err != nil {
			t.Errorf("%+q: %v", test.password, err)
			continue
		}
		if got.Text() != test.verifier {
			t.Errorf("%+q: got %s, want %s", test.password, got.Text(), test.verifier)
		}
		if !want.Matches(test.password) || want.Matches(test.password+"x") {
			t.Errorf("%+q: Matches is wrong", test.password)
		}
	}
}
