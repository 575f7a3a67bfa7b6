// The push side of ingest as a program of its own: HTTP in, each record decoded and checked, answered after acks=all.
//
// No dedup, no books, no transactions: every record is produced on its own, and a request waits for all of its own.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const maxBody = 16 << 20

type event struct {
	ID     *string    `json:"id"`
	Series *string    `json:"series"`
	Metric *string    `json:"metric"`
	TS     *time.Time `json:"ts"`
	Value  *float64   `json:"value"`
}

func parse(line []byte) (*event, error) {
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	var found event
	if err := decoder.Decode(&found); err != nil {
		return nil, err
	}
	if decoder.More() {
		return nil, errors.New("more than one value")
	}
	if found.ID == nil || found.Series == nil || found.Metric == nil || found.TS == nil || found.Value == nil {
		return nil, errors.New("a field is missing")
	}
	if *found.ID == "" || math.IsInf(*found.Value, 0) || math.IsNaN(*found.Value) {
		return nil, errors.New("a value is not allowed")
	}
	return &found, nil
}

type refusal struct {
	Index int    `json:"index"`
	Error string `json:"error"`
}

type answer struct {
	Accepted  int       `json:"accepted"`
	Published int       `json:"published"`
	Refused   int       `json:"refused"`
	Results   []refusal `json:"results"`
}

type service struct{ kafka *kgo.Client }

func (s service) push(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	lines := [][]byte{body}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-ndjson") {
		lines = bytes.Split(body, []byte("\n"))
	}
	said := answer{Results: []refusal{}}
	var waiting sync.WaitGroup
	var mutex sync.Mutex
	var failed error
	for index, line := range lines {
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		found, err := parse(line)
		if err != nil {
			said.Refused++
			said.Results = append(said.Results, refusal{index, err.Error()})
			continue
		}
		said.Accepted++
		waiting.Add(1)
		record := &kgo.Record{Key: []byte(*found.Series), Value: line, Headers: []kgo.RecordHeader{{Key: "ce_id", Value: []byte(*found.ID)}}}
		s.kafka.Produce(context.Background(), record, func(_ *kgo.Record, err error) {
			if err != nil {
				mutex.Lock()
				failed = err
				mutex.Unlock()
			}
			waiting.Done()
		})
	}
	waiting.Wait()
	if failed != nil {
		http.Error(w, failed.Error(), http.StatusServiceUnavailable)
		return
	}
	said.Published = said.Accepted
	status := http.StatusOK
	if said.Refused > 0 && said.Accepted > 0 {
		status = http.StatusMultiStatus
	} else if said.Refused > 0 {
		status = http.StatusUnprocessableEntity
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(said)
}

func main() {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(os.Getenv("BOOTSTRAP")),
		kgo.DefaultProduceTopic(os.Getenv("OUT")),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(0),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedRecords(200_000),
	)
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("POST /v1/sources/readings/events", service{client}.push)
	log.Fatal(http.ListenAndServe(fmt.Sprintf("127.0.0.1:%s", os.Getenv("PORT")), nil))
}
