package app

import (
	"cmp"
	"context"
	"slices"

	"micromesh/gateway/handler"
)

// openStock connects to the NATS server of services in plain go-micro, if one is set. It doesn't wait for the server.
func (a *App) openStock(ctx context.Context) (err error) {
	if a.cfg.StockNATS == "" {
		return nil
	}
	if a.stockNATS, err = a.host.ConnectGuests(ctx, a.cfg.StockNATS, Name); err != nil {
		return err
	}
	a.host.RPC.CallGuestsOver(a.stockNATS)
	return nil
}

// programs returns the programs in plain go-micro that were found, by name.
func (a *App) programs() []handler.Program {
	refused := a.host.Nodes.Refusals()
	out := []handler.Program{}
	for _, s := range a.host.Nodes.Services() {
		p := handler.Program{Name: s.Name}
		for _, n := range s.Nodes {
			if n.Stock() {
				p.Nodes++
			}
		}
		if p.Nodes == 0 {
			continue
		}
		if p.Reason = refused[s.Name]; p.Reason == "" && !a.cfg.ExposeStock {
			p.Reason = "MICRO_EXPOSE_STOCK is not set for the gateway: only routes of routes.yaml reach it"
		}
		delete(refused, s.Name)
		out = append(out, p)
	}
	for name, why := range refused {
		out = append(out, handler.Program{Name: name, Reason: why})
	}
	slices.SortFunc(out, func(a, b handler.Program) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
